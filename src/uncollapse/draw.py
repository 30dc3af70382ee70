"""One pass of a batch through a VAE, and what remedies may ask of a model.

`VAE` wraps two foreign modules without inheritance; `draw` encodes, samples and decodes once; `Draw` keeps
what was computed on the way, so that nothing is computed twice.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Size, Tensor, nn
from torch.distributions import Distribution

from uncollapse.distributions import Reader, bernoulli, describe, gaussian, kl_per_dimension
from uncollapse.errors import BadInput, ShapeError
from uncollapse.families import Folded, StandardNormal
from uncollapse.once import cached_property
from uncollapse.processes import Apart, can_share, together

__all__ = ["VAE", "Draw", "Model", "draw"]


@runtime_checkable
class Model(Protocol):
    """What remedies and metrics may ask of any model."""

    def posterior(self, x: Tensor) -> Distribution:
        """q(z|x): batch (B,), event (D,)."""
        ...

    def likelihood(self, z: Tensor) -> Distribution:
        """p(x|z): z (K, B, D) gives batch (K, B), event X; one leading dimension is fine too."""
        ...

    def prior(self) -> Distribution:
        """p(z): batch (), event (D,)."""
        ...


class VAE(nn.Module):
    """A variational autoencoder made of somebody's encoder and somebody's decoder.

    Arguments:
        encoder: module from x (B, *X) to a pair (mean, log-variance), one tensor (B, 2D) or a distribution.
        decoder: module from z (B, D) to logits or means (B, *X), or to a distribution over x.
        latent: D.
        read_q: reader of the encoder's output.
        read_x: reader of the decoder's output. Where a reader is a module with parameters (see
            `uncollapse.likelihoods`), they are the model's, and count to the decoder; those of `read_q` to the encoder.
        prior: a distribution with event (D,), or a callable (a module, say) that returns one; N(0, I) if None.

    Raises:
        BadInput: when a part is not a module or `latent` is not a positive whole number.

    Example:
        >>> model = VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4)
        >>> draw(model, torch.rand(5, 16)).log_px.shape
        torch.Size([1, 5])
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent: int,
        read_q: Reader = gaussian,
        read_x: Reader = bernoulli,
        prior: Distribution | Callable[[], Distribution] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(encoder, nn.Module) or not isinstance(decoder, nn.Module):
            raise BadInput(
                f"VAE expects two torch modules, got {describe(encoder)} and {describe(decoder)}; "
                "wrap a function in a module whose forward calls it"
            )
        if isinstance(latent, bool) or not isinstance(latent, int) or latent < 1:
            raise BadInput(f"latent should be a positive whole number of dimensions, got {latent!r}")
        self.encoder, self.decoder, self.latent = encoder, decoder, latent
        self.read_q, self.read_x = read_q, read_x
        self.given_prior = prior
        self.register_buffer("zero", torch.zeros(latent), persistent=False)
        self.register_buffer("one", torch.ones(latent), persistent=False)
        self.standard = self.standard_normal()

    def posterior(self, x: Tensor) -> Distribution:
        """q(z|x): x (B, *X) gives batch (B,), event (D,)."""
        q = self.read_q(called(self.encoder, x, "encoder"))
        if q.event_shape != (self.latent,):
            raise ShapeError(
                f"the posterior should have event shape ({self.latent},) because latent={self.latent}, "
                f"got {tuple(q.event_shape)}; check the size of the encoder's last layer"
            )
        return q

    def likelihood(self, z: Tensor) -> Distribution:
        """p(x|z): z (*L, D) gives batch L, event X. Leading dimensions are folded into one for the decoder."""
        codes = z.reshape(-1, z.shape[-1])
        kind = next((p.dtype for p in self.decoder.parameters()), z.dtype)
        if kind in (torch.float16, torch.bfloat16):  # posteriors are float32 or better, also where the network is not
            codes = codes.to(kind)
        flat = self.read_x(called(self.decoder, codes, "decoder"))
        return flat if z.ndim == 2 else Folded(flat, Size(z.shape[:-1]))

    def prior(self) -> Distribution:
        """p(z): batch (), event (D,)."""
        if isinstance(self.given_prior, Distribution):
            return self.given_prior
        if self.given_prior is not None:
            return self.given_prior()
        return self.standard if self.standard.base_dist.loc is self.zero else self.standard_normal()

    def standard_normal(self) -> StandardNormal:
        """N(0, I) of the model's buffers."""
        return StandardNormal(cast(Tensor, self.zero), cast(Tensor, self.one))

    def _apply(self, *args: Any, **options: Any) -> "VAE":
        """Move the model to a device or type; the prior that is made once follows."""
        super()._apply(*args, **options)  # type: ignore[no-untyped-call]
        self.standard = self.standard_normal()
        return self

    def forward(self, x: Tensor) -> "Draw":
        """The same as `draw(self, x)`."""
        return draw(self, x)


def called(network: nn.Module, x: Tensor, name: str) -> Any:
    """The network's output; torch's complaint about a shape or a type becomes a sentence about the input."""
    try:
        return network(x)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        if not re.search(r"shape|size|dimension|channels|dtype|same type", str(error)):
            raise
        raise ShapeError(
            f"the {name} does not take {describe(x)} of {str(x.dtype).removeprefix('torch.')}: {error}; "
            f"reshape or convert its input, or change the {name}'s first layer"
        ) from error


@dataclass(frozen=True, eq=False)
class Draw:
    """Everything computed on the way of a batch of B examples with K samples each.

    Attributes:
        x: (B, *X), the data.
        q: the posterior q(z|x), batch (B,), event (D,).
        z: (K, B, D), samples of q.
        px: the likelihood p(x|z), batch (K, B), event X.
        prior: p(z), event (D,).
        kept: what parts of the model gave on the way, by dotted path (see `draw`).
    """

    x: Tensor
    q: Distribution
    z: Tensor
    px: Distribution
    prior: Distribution
    kept: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def log_px(self) -> Tensor:
        """Log likelihood log p(x|z), (K, B) nats."""
        return self.px.log_prob(self.x)

    @cached_property
    def kl(self) -> Tensor:
        """KL(q||p) per dimension, (B, D) nats; (B, 1) where it does not factorise, sampled where no form is known."""
        kl = kl_per_dimension(self.q, self.prior)
        if kl is None:
            return (self.q.log_prob(self.z) - self.prior.log_prob(self.z)).mean(0).unsqueeze(-1)
        return kl

    @cached_property
    def log_w(self) -> Tensor:
        """Log importance weights log p(x|z) + log p(z) - log q(z|x), (K, B) nats."""
        return self.log_px + self.prior.log_prob(self.z) - self.q.log_prob(self.z)

    @property
    def elbo(self) -> Tensor:
        """Evidence lower bound, (B,) nats."""
        return self.log_px.mean(0) - self.kl.sum(1)


def draw(model: Model, x: Tensor, samples: int = 1, keep: Collection[str] = ()) -> Draw:
    """Pass a batch through a model once.

    Arguments:
        model: anything with `posterior`, `likelihood` and `prior`.
        x: (B, *X).
        samples: K, samples of z per example.
        keep: dotted paths of parts of the model ("encoder.trunk") whose output in the encoder's pass is to be kept,
            so that a remedy need not pass them again.

    Returns:
        A `Draw`; its densities are computed when first asked for.

    Raises:
        ShapeError: when the batch is empty or the likelihood does not have the shape of x.

    Example:
        >>> model = VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4)
        >>> draw(model, torch.rand(5, 16), samples=3).z.shape
        torch.Size([3, 5, 4])
    """
    if not isinstance(x, Tensor) or x.ndim < 2 or len(x) == 0:
        raise ShapeError(f"x should be a batch (B, *X) of at least one example, got {describe(x)}")
    if samples < 1:
        raise BadInput(f"samples should be at least 1, got {samples}")
    kept: Mapping[str, Any] = {}
    if keep:
        with keeping(model, keep) as kept:
            q = model.posterior(x)
    else:
        q = model.posterior(x)
    z = sample(q, samples)
    group = can_share(x)
    px = model.likelihood(z) if group is None else Apart(model.likelihood, z, group, model)
    return Draw(x, q, z, described(px, x), model.prior(), kept)


def described(px: Distribution, x: Tensor) -> Distribution:
    """The likelihood, if it is one of observations like x (B, *X).

    Raises:
        ShapeError: when it describes another shape.
    """
    if px.event_shape != x.shape[1:]:
        raise ShapeError(
            f"the decoder describes observations of shape {tuple(px.event_shape)}, but x has "
            f"{tuple(x.shape[1:])}; wrap a distribution of single numbers in Independent, or reshape the data or the "
            "decoder's output so that they agree"
        )
    return px


@contextmanager
def keeping(model: Any, paths: Collection[str]) -> Iterator[dict[str, Any]]:
    """Collect what the named parts of a model return while the block runs; a path that leads nowhere is left out."""
    kept: dict[str, Any] = {}
    hooks = []
    for path in paths:
        part = found(model, path)
        if isinstance(part, nn.Module):
            hooks.append(part.register_forward_hook(lambda _, __, out, path=path: kept.update({path: together(out)})))
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()


def found(model: Any, path: str) -> Any:
    """The part of a model that a dotted path names, or None."""
    try:
        return attrgetter(path)(model)
    except AttributeError:
        return None


def sample(q: Distribution, samples: int) -> Tensor:
    """Samples (K, B, D), reparametrised where the family allows it."""
    shape = Size((samples,))
    z: Any = q.rsample(shape) if q.has_rsample else q.sample(shape)
    return cast(Tensor, z)
