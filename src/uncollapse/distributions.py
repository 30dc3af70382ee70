"""Readers turn the raw output of a network into a torch distribution; nobody inherits from anything.

A reader takes what a network returned for B examples and gives a distribution with batch shape (B,).
Posteriors have event shape (D,), likelihoods the shape of one observation. Whatever the precision of the
network, distributions are float32 or better: log densities and divergences do not survive half precision.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, constraints, kl_divergence

from uncollapse.errors import BadInput, ShapeError, Unsupported
from uncollapse.families import Bits, Folded, StandardNormal, normal
from uncollapse.functional import gaussian_kl

__all__ = [
    "FixedGaussian",
    "Folded",
    "Reader",
    "bernoulli",
    "diagonal",
    "gaussian",
    "kl_per_dimension",
    "standard_normal",
]  # fmt: skip

Reader = Callable[[Any], Distribution]


def precise(raw: Tensor) -> Tensor:
    """The tensor in float32 or better."""
    return raw if raw.dtype in (torch.float32, torch.float64) else raw.float()


def gaussian(raw: Any) -> Distribution:
    r"""Read a diagonal Gaussian posterior from an encoder's output.

    $q(z|x) = \mathcal N(\mu, \operatorname{diag} e^{\log\sigma^2})$

    Arguments:
        raw: a pair (mean, log-variance) of shape (B, D) each, one tensor (B, 2D) to be split in that order,
            or a distribution, which is passed through.

    Returns:
        A distribution with batch (B,) and event (D,).

    Raises:
        ShapeError: for anything else, or when the halves do not match.

    Example:
        >>> gaussian(torch.zeros(3, 8)).event_shape
        torch.Size([4])
    """
    if isinstance(raw, Distribution):
        return raw
    if isinstance(raw, Tensor) and raw.ndim == 2 and raw.shape[1] % 2 == 0:
        mean, log_variance = precise(raw).chunk(2, 1)
    elif isinstance(raw, tuple | list) and len(raw) == 2 and all(isinstance(part, Tensor) for part in raw):
        mean, log_variance = precise(raw[0]), precise(raw[1])
        if mean.shape != log_variance.shape or mean.ndim != 2:
            raise ShapeError(
                f"mean and log-variance should both be (B, D), got {tuple(mean.shape)} and {tuple(log_variance.shape)}"
            )
    else:
        raise ShapeError(
            "the encoder should return a pair (mean, log-variance), one tensor (B, 2D) or a distribution, "
            f"got {describe(raw)}; pass read_q= to read it your own way"
        )
    return Independent(normal(mean, (0.5 * log_variance).exp()), 1, validate_args=False)


def bernoulli(raw: Any) -> Distribution:
    r"""Read a Bernoulli likelihood from logits.

    $\log p(x|z) = \sum_j x_j \log \pi_j + (1 - x_j) \log(1 - \pi_j)$, for x in [0, 1].

    Arguments:
        raw: logits (B, *X), or a distribution, which is passed through (autoregressive decoders return one).

    Returns:
        A distribution with batch (B,) and event X.

    Raises:
        ShapeError: when the decoder returned something else.

    Example:
        >>> bernoulli(torch.zeros(3, 1, 8, 8)).log_prob(torch.ones(3, 1, 8, 8)).shape
        torch.Size([3])
    """
    if isinstance(raw, Distribution):
        return raw
    return Bits(observation(raw))


class FixedGaussian:
    r"""Reader of a Gaussian likelihood with a fixed standard deviation.

    $\log p(x|z) = \sum_j \log \mathcal N(x_j; \hat x_j, \sigma^2)$

    Arguments:
        scale: sigma, in the units of the data. Squared error without any constant, as the re-implementation
            report of Forget-me-not uses it, is sigma = sqrt(1/2) up to a constant.

    Example:
        >>> FixedGaussian(0.5)(torch.zeros(3, 16)).log_prob(torch.zeros(3, 16)).shape
        torch.Size([3])
    """

    def __init__(self, scale: float = 1.0) -> None:
        if not scale > 0:
            raise BadInput(f"the standard deviation of a Gaussian likelihood should be positive, got {scale}")
        self.scale = scale

    def __call__(self, raw: Any) -> Distribution:
        """Read the decoder's output as means."""
        if isinstance(raw, Distribution):
            return raw
        mean = observation(raw)
        scale = torch.full_like(mean, self.scale)
        return Independent(Normal(mean, scale, validate_args=False), mean.ndim - 1, validate_args=False)

    def __repr__(self) -> str:
        return f"FixedGaussian({self.scale})"


def observation(raw: Any) -> Tensor:
    """The decoder's output as one float tensor (B, *X)."""
    if not isinstance(raw, Tensor) or raw.ndim < 2:
        raise ShapeError(
            f"the decoder should return one tensor (B, *X) or a distribution, got {describe(raw)}; "
            "pass read_x= to read it your own way"
        )
    return precise(raw)


def is_bernoulli(px: Distribution) -> bool:
    """Whether a likelihood is one of binary observations, however it is wrapped."""
    return single(px) is constraints.boolean


def is_counted(px: Distribution) -> bool:
    """Whether a likelihood is one of whole numbers (counts, token ids), however it is wrapped."""
    return single(px) is constraints.nonnegative_integer


def single(px: Distribution) -> Any:
    """What one number of an observation may be."""
    support: Any = px.support
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    return support


def check_observed(px: Distribution, low: float, high: float) -> None:
    """Refuse observations to which a likelihood gives no probability.

    Arguments:
        px: the likelihood.
        low, high: the smallest and the largest observed value.

    Raises:
        BadInput: when they leave [0, 1] and the likelihood is Bernoulli or one of levels in [0, 1], or are negative
            and it is one of counts.
    """
    if is_counted(px) and low < 0:
        raise BadInput(f"the model's likelihood is one of whole numbers from 0, but the data have {low:g}")
    if single(px) is constraints.unit_interval and (low < 0 or high > 1):
        raise BadInput(
            f"the model's likelihood is one of levels between 0 and 1, but the data have {low:g} to {high:g}; divide "
            "them by their largest level, 255 for bytes"
        )
    if is_bernoulli(px) and (low < 0 or high > 1):
        raise BadInput(
            f"the model's Bernoulli likelihood needs values between 0 and 1, but the data have {low:g} to {high:g}; "
            "divide them by their largest value, or give the VAE read_x=FixedGaussian(...)"
        )


def standard_normal(dimension: int, device: torch.device | str | None = None) -> Distribution:
    """The prior N(0, I) with event (D,).

    Example:
        >>> standard_normal(4).sample().shape
        torch.Size([4])
    """
    return StandardNormal(torch.zeros(dimension, device=device), torch.ones(dimension, device=device))


def diagonal(q: Distribution, user: str) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (B, D) of a diagonal Gaussian posterior.

    Arguments:
        q: the posterior.
        user: who asks; named in the error.

    Raises:
        Unsupported: when q is of another family.
    """
    base = q.base_dist if isinstance(q, Independent) else q
    if not isinstance(base, Normal):
        raise Unsupported(f"{user} needs a diagonal Gaussian posterior, got {type(base).__name__}")
    return base.loc, base.scale


def kl_per_dimension(q: Distribution, prior: Distribution) -> Tensor | None:
    """KL(q || prior) as (B, D) where both factorise, (B, 1) where only the whole is known, else None."""
    if isinstance(q, Independent) and isinstance(prior, Independent):
        if isinstance(prior, StandardNormal) and type(q.base_dist) is Normal and q.reinterpreted_batch_ndims == 1:
            return gaussian_kl(q.base_dist.loc, q.base_dist.scale)
        q, prior = q.base_dist, prior.base_dist
    try:
        kl = kl_divergence(q, prior)
    except NotImplementedError:
        return None
    except IndexError:  # torch's closed form for two Bernoullis does not broadcast
        kl = kl_divergence(q, prior.expand(q.batch_shape))
    return kl if kl.ndim > 1 else kl.unsqueeze(-1)


def describe(thing: Any) -> str:
    """A few words about an unexpected object, for error messages."""
    if isinstance(thing, Tensor):
        return f"a tensor of shape {tuple(thing.shape)}"
    if isinstance(thing, tuple | list):
        return f"a {type(thing).__name__} of {len(thing)} ({', '.join(describe(part) for part in thing[:3])})"
    return f"a {type(thing).__name__}"
