"""Torch's distributions in the forms that networks of batches need, without bookkeeping that a small model notices."""

from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import Bernoulli, Distribution, Independent, Normal
from torch.nn.functional import binary_cross_entropy_with_logits

__all__ = ["Bits", "Folded", "StandardNormal", "normal"]


def normal(mean: Tensor, scale: Tensor) -> Normal:
    """A normal distribution of two tensors of one shape, without torch's broadcasting, which a small model notices."""
    made = Normal.__new__(Normal)
    made.loc, made.scale = mean, scale
    Distribution.__init__(made, mean.shape, validate_args=False)
    return made


class Bits(Independent):  # type: ignore[type-arg]  # older torch has no type arguments here
    """Independent Bernoulli variables from logits (B, *X): torch's own, with fewer passes over the data."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__(Bernoulli(logits=logits, validate_args=False), logits.ndim - 1, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of values (B, *X), or of what goes with them, (B,) nats."""
        logits = self.base_dist.logits
        if value.shape != logits.shape or value.dtype != logits.dtype:
            return super().log_prob(value)  # type: ignore[no-any-return, no-untyped-call]
        lost = binary_cross_entropy_with_logits(logits, value, reduction="none")
        return -lost.flatten(logits.ndim - self.reinterpreted_batch_ndims).sum(-1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Distribution:
        """The same for a larger batch, as torch's own class."""
        return expanded(self, batch_shape)


class StandardNormal(Independent):  # type: ignore[type-arg]  # older torch has no type arguments here
    """N(0, I) with event (D,), known as such, so that the divergence from it takes fewer passes.

    Arguments:
        zero, one: (D,), nothing but zeros and ones.
    """

    def __init__(self, zero: Tensor, one: Tensor) -> None:
        super().__init__(normal(zero, one), 1, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Distribution:
        """The same for a batch, as torch's own class."""
        return expanded(self, batch_shape)


def expanded(one: Any, batch_shape: Any) -> Distribution:
    """Independent variables for a larger batch."""
    plain: Any = Independent(one.base_dist, one.reinterpreted_batch_ndims, validate_args=False)
    found: Distribution = plain.expand(Size(batch_shape))
    return found


class Folded(Distribution):
    """A distribution over K * B examples seen as a batch (K, B): networks know only one leading dimension.

    Arguments:
        base: a distribution with batch (K * B,).
        lead: the batch shape to show, for example (K, B).
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012  (the base class declares it so)

    def __init__(self, base: Distribution, lead: Size) -> None:
        self.base = base
        super().__init__(lead, base.event_shape, validate_args=False)

    @property
    def support(self) -> Any:
        """The support of the folded distribution."""
        return self.base.support

    @property
    def mean(self) -> Tensor:
        """Mean, (K, B, *X)."""
        return self._unfold(self.base.mean)

    @property
    def variance(self) -> Tensor:
        """Variance, (K, B, *X)."""
        return self._unfold(self.base.variance)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density (K, B), nats, of values (B, *X) or (K, B, *X)."""
        if len(self.base.batch_shape) == 1 and value.shape == self.base.batch_shape + self.event_shape:  # one sample
            return self.base.log_prob(value).reshape(self.batch_shape)
        value = value.expand(*self.batch_shape, *self.event_shape)
        return self.base.log_prob(value.reshape(-1, *self.event_shape)).reshape(self.batch_shape)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Samples (*S, K, B, *X), without gradient."""
        with torch.no_grad():
            return self._unfold(self.base.sample(sample_shape), len(Size(sample_shape)))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Samples (*S, K, B, *X), with gradient where the base has it."""
        return self._unfold(self.base.rsample(sample_shape), len(Size(sample_shape)))

    def _unfold(self, flat: Tensor, front: int = 0) -> Tensor:
        return flat.reshape(*flat.shape[:front], *self.batch_shape, *flat.shape[front + 1 :])
