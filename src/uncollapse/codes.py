"""One pass of a model over a data set, as a table that every latent metric reads."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from uncollapse.data import as_values
from uncollapse.distributions import describe, kl_per_dimension, precise
from uncollapse.draw import Model
from uncollapse.errors import BadInput, ShapeError, Unsupported
from uncollapse.functional import gaussian_kl

__all__ = ["Codes", "batches_of", "checked", "encode", "evaluation", "private_stream"]


ROWS = 1024  #: noise is drawn for so many examples at a time, because torch's numbers depend on how many are asked for


@dataclass(frozen=True, eq=False, repr=False)
class Codes:
    """Posteriors of N examples, on the CPU in float32; the samples in float64, so that tiny scales leave a trace.

    Attributes:
        mean: (N, D) posterior means.
        scale: (N, D) posterior standard deviations, or None when q is not a diagonal Gaussian.
        sample: (N, D), one draw of each posterior, fixed by the seed.
        kl: (N, D) KL to the prior per dimension, nats ((N, 1) where it does not factorise).
        labels: (N,) or None.
        posteriors: the posteriors themselves, in batches and in order, where they are not diagonal Gaussians.

    Example:
        >>> codes = Codes.from_gaussian(torch.zeros(3, 2), torch.ones(3, 2))
        >>> len(codes), codes.latent, codes.kl.sum().item()
        (3, 2, 0.0)
    """

    mean: Tensor
    scale: Tensor | None
    sample: Tensor
    kl: Tensor
    labels: Tensor | None = None
    posteriors: tuple[Distribution, ...] = ()

    def __repr__(self) -> str:
        labels = "no labels" if self.labels is None else "labels"
        return f"Codes({len(self)} examples, {self.latent} latents, {labels})"

    def __len__(self) -> int:
        return len(self.mean)

    @property
    def latent(self) -> int:
        """D."""
        return self.mean.shape[1]

    def gaussian(self, user: str) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, scale and sample (N, D) in float64, for metrics that need a diagonal Gaussian.

        Raises:
            BadInput: when the posteriors are of another family, or a number is not finite.
        """
        if self.scale is None:
            raise BadInput(f"{user} needs diagonal Gaussian posteriors, and these codes have no scale")
        return self.mean.double(), self.scale.double(), self.sample.double()

    def moments(self, user: str) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, standard deviation and sample (N, D) in float64, whatever the family.

        Raises:
            BadInput: when neither scales nor posteriors are there, or the family has no variance.
        """
        if self.scale is not None or not self.posteriors:
            return self.gaussian(user)
        try:
            spread = torch.cat([q.stddev.double().cpu() for q in self.posteriors])
        except NotImplementedError as error:
            name = type(self.posteriors[0]).__name__
            raise BadInput(f"{user} needs the variance of the posteriors, and a {name} has none") from error
        return self.mean.double(), spread, self.sample.double()

    def permuted(self, seed: int = 0) -> "Codes":
        """The same posteriors with the samples shuffled between the examples: a control with no information."""
        order = torch.randperm(len(self), generator=private_stream(seed, "permuted"))
        return replace(self, sample=self.sample[order])

    @classmethod
    def from_gaussian(cls, mean: Any, scale: Any, labels: Any = None, seed: int = 0) -> "Codes":
        """Codes from means and standard deviations (N, D) against the prior N(0, I).

        Raises:
            ShapeError: when shapes do not match.
            BadInput: when there are fewer than two examples, a scale is not positive or a number is not finite.
        """
        mean, scale = (precise(torch.as_tensor(value).detach().cpu()) for value in (mean, scale))
        if mean.ndim != 2 or mean.shape != scale.shape:
            raise ShapeError(f"codes need mean and scale (N, D), got {tuple(mean.shape)} and {tuple(scale.shape)}")
        if not (scale > 0).all():
            raise BadInput("posterior scales should be positive, got zero, less or NaN; they are standard deviations")
        noise = posterior_noise(0, len(mean), mean.shape[1], seed)
        labels = None if labels is None else torch.as_tensor(labels).cpu()
        return checked(cls(mean, scale, moved(mean, scale, noise), gaussian_kl(mean, scale), labels))

    @classmethod
    def of(cls, model: Model, data: Any, batch_size: int = 512, seed: int = 0) -> "Codes":
        """Encode a data set once, in evaluation mode and without gradients.

        Arguments:
            model: anything with `posterior` and `prior`.
            data: a tensor or array (N, *X), a pair (x, labels), one part of a data set, or an iterable of batches.
            batch_size: examples per pass; the result does not depend on it for Gaussian posteriors of models that draw
                no noise of their own.
            seed: of the one sample per example.

        Raises:
            ShapeError, BadInput: when the data are empty or of the wrong shape, or a posterior is not finite.
        """
        return checked(encode(model, batches_of(data, batch_size, model), seed))


def encode(model: Model, batches: Iterable[tuple[Tensor, Tensor | None]], seed: int = 0) -> Codes:
    """`Codes.of` from batches that are ready for the model, without looking at the numbers: they may be NaN.

    Raises:
        ShapeError: when there is no batch.
    """
    means, scales, samples, kls, labels, posteriors = [], [], [], [], [], []
    seen = 0
    with evaluation(model, seed):
        for x, y in batches:
            q = model.posterior(x)
            mean, scale, z = tabulate(q, seen, seed)
            seen += len(mean)
            means.append(mean)
            scales.append(scale)
            samples.append(z)
            if scale is None:
                posteriors.append(q)
            kls.append(divergences(q, model.prior(), z.to(x if x.is_floating_point() else mean.to(x.device))))
            labels.append(y)
    if not means:
        raise ShapeError("the data hold no example; at least two are needed")
    scale_table = None if any(s is None for s in scales) else torch.cat([s for s in scales if s is not None])
    label_table = None if any(y is None for y in labels) else torch.cat([y for y in labels if y is not None])
    tables = torch.cat(means), scale_table, torch.cat(samples), torch.cat(kls), label_table
    return Codes(*tables, tuple(posteriors) if scale_table is None else ())


def divergences(q: Distribution, prior: Distribution, z: Tensor) -> Tensor:
    """KL(q||p) as (B, D), (B, 1) where it does not factorise, and from the samples z (B, D) where no form is known."""
    kl = kl_per_dimension(q, prior)
    if kl is None:
        kl = (q.log_prob(z) - prior.log_prob(z)).unsqueeze(-1)
    return kl.cpu()


def tabulate(q: Distribution, first: int, seed: int) -> tuple[Tensor, Tensor | None, Tensor]:
    """Mean, scale (None if not a diagonal Gaussian) and one sample of a batch of posteriors, on the CPU.

    Arguments:
        q: the posteriors of the examples number `first` and following.
        first: how many examples came before.
        seed: of the sample.
    """
    base = q.base_dist if isinstance(q, Independent) else q
    if isinstance(base, Normal):
        mean, scale = base.loc.float().cpu(), base.scale.float().cpu()
        return mean, scale, moved(mean, scale, posterior_noise(first, len(mean), mean.shape[1], seed))
    try:
        return q.mean.float().cpu(), None, q.sample().float().cpu()
    except NotImplementedError as error:
        raise Unsupported(
            f"codes need the mean of the posteriors, and a {type(base).__name__} has none; return a distribution with "
            ".mean from the encoder, or take the relaxed codes' categorical distribution"
        ) from error


def moved(mean: Tensor, scale: Tensor, noise: Tensor) -> Tensor:
    """mean + scale * noise in float64: in float32 a scale of 1e-8 would be lost beside a mean of 1."""
    return mean.double() + scale.double() * noise.double()


def checked(codes: Codes) -> Codes:
    """The codes, or an error that says what is wrong with them."""
    if len(codes) < 2:
        raise BadInput(f"codes of at least two examples are needed, got {len(codes)}")
    table = {"mean": codes.mean, "scale": codes.scale, "KL": codes.kl}
    for name, values in table.items():
        if values is not None and not values.isfinite().all():
            bad = (~values.isfinite()).any(1).nonzero().flatten()
            raise BadInput(
                f"the posterior {name} should be finite, but {len(bad)} of {len(codes)} examples are NaN or "
                f"infinite (first: example {int(bad[0])}); look at these inputs and at the encoder's log-variance"
            )
    if codes.scale is not None and not (codes.scale > 0).all():
        raise BadInput("posterior scales should be positive, got zero or less; they are standard deviations")
    if codes.labels is not None and len(codes.labels) != len(codes):
        raise ShapeError(f"one label an example is needed, got {len(codes.labels)} for {len(codes)} examples")
    return codes


@contextmanager
def evaluation(model: Any, seed: int) -> Iterator[None]:
    """Evaluation mode, no gradients and a private random stream; everything is put back afterwards."""
    modules = [m for m in model.modules() if m.training] if isinstance(model, nn.Module) else []
    devices = [device_of(model)] if device_of(model).type == "cuda" else []
    with torch.random.fork_rng(devices), torch.no_grad():
        torch.manual_seed(private_stream(seed, "evaluation").initial_seed())
        for module in modules:
            module.training = False
        try:
            yield
        finally:
            for module in modules:
                module.training = True


def posterior_noise(first: int, count: int, latent: int, seed: int) -> Tensor:
    """Standard normal numbers (count, D) for the examples `first` and following, however they are batched."""
    blocks = range(first // ROWS, -(-(first + count) // ROWS))
    table = [torch.randn(ROWS, latent, generator=private_stream(seed, f"codes {block}")) for block in blocks]
    return torch.cat([*table, torch.empty(0, latent)])[first % ROWS : first % ROWS + count]


def private_stream(seed: int, purpose: str) -> torch.Generator:
    """A CPU stream of random numbers for one purpose.

    The seed is mixed with the purpose: data that somebody drew with the same small seed would otherwise be the
    very noise of the posterior, and the samples would seem to know everything about their inputs.
    """
    digest = hashlib.blake2b(f"{purpose}:{seed}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def device_of(model: Any) -> torch.device:
    """Where the model's parameters live; the CPU when it has none."""
    parameters = model.parameters() if isinstance(model, nn.Module) else iter(())
    return next((p.device for p in parameters), torch.device("cpu"))


def batches_of(data: Any, batch_size: int, model: Any) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Pairs (x, labels or None) from a tensor, an array, a pair of them, a part of a data set or a loader.

    x goes to the device and the floating type of the model's parameters, labels stay on the CPU. Bytes above 1 are
    shares of 255, as they are for `fit`. A part of a data set is anything with `batches(batch_size)` that yields such
    pairs in a fixed order.
    """
    if hasattr(data, "batches"):
        pairs: Iterable[Any] = data.batches(batch_size)
    elif isinstance(data, Tensor | np.ndarray):
        pairs = chunks(as_values(data), None, batch_size)
    elif isinstance(data, tuple) and len(data) == 2 and all(isinstance(d, Tensor | np.ndarray) for d in data):
        pairs = chunks(as_values(data[0]), torch.as_tensor(data[1]), batch_size)
    elif isinstance(data, Iterable):
        pairs = (batch if isinstance(batch, tuple | list) else (batch, None) for batch in data)
    else:
        raise ShapeError(f"data should be a tensor, an array, a pair (x, labels) or batches, got {describe(data)}")
    device, kind = device_of(model), dtype_of(model)
    for batch in pairs:
        if not isinstance(batch, tuple | list) or not batch or not isinstance(batch[0], Tensor | np.ndarray):
            raise ShapeError(f"every batch should be a tensor or a pair (x, labels), got {describe(batch)}")
        y = batch[1] if len(batch) > 1 else None
        ids = isinstance(batch[0], Tensor) and batch[0].dtype == torch.int64 and hasattr(data, "batches")
        x = torch.as_tensor(batch[0]).to(device) if ids else as_values(batch[0]).to(device, kind, non_blocking=True)
        yield x, None if y is None else torch.as_tensor(y).cpu()


def dtype_of(model: Any) -> torch.dtype:
    """The floating type of the model's parameters; float32 when it has none."""
    parameters = model.parameters() if isinstance(model, nn.Module) else iter(())
    return next((p.dtype for p in parameters if p.is_floating_point()), torch.float32)


def chunks(x: Tensor, y: Tensor | None, size: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Consecutive pieces of x and y."""
    if x.ndim < 2:
        raise ShapeError(f"data should be (N, *X) with at least one dimension per example, got {tuple(x.shape)}")
    for start in range(0, len(x), size):
        yield x[start : start + size], None if y is None else y[start : start + size]
