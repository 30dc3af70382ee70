"""What every pass of a model over data needs: batches, evaluation mode, random numbers, and numbers of posteriors."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from uncollapse.data import as_values
from uncollapse.distributions import describe, kl_per_dimension
from uncollapse.errors import ShapeError, Unsupported

__all__ = [
    "batches_of", "device_of", "divergences", "dtype_of", "evaluation", "moved", "posterior_noise", "private_stream",
    "tabulate",
]  # fmt: skip


ROWS = 1024  #: noise is drawn for so many examples at a time, because torch's numbers depend on how many are asked for


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


def posterior_noise(first: int, count: int, latent: int, seed: int) -> Tensor:
    """Standard normal numbers (count, D) for the examples `first` and following, however they are batched."""
    blocks = range(first // ROWS, -(-(first + count) // ROWS))
    table = [torch.randn(ROWS, latent, generator=private_stream(seed, f"codes {block}")) for block in blocks]
    return torch.cat([*table, torch.empty(0, latent)])[first % ROWS : first % ROWS + count]
