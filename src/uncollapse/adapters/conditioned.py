"""A likelihood that also looks at parts of x: earlier tokens, the library size of a cell."""

from collections.abc import Callable
from typing import Any

from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from uncollapse.errors import ShapeError, Unsupported

__all__ = ["Conditioned"]


class Conditioned(Distribution):
    """p(x|z) as a function that scores x, because its parameters depend on parts of x itself.

    Arguments:
        z: (*L, D).
        event: X, the shape of an observation.
        score: from z (n, D) and x (n, *X) to log p(x|z), (n,) nats.
        who: the model, named in errors.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012  (the base class declares it so)

    def __init__(self, z: Tensor, event: Size, score: Callable[[Tensor, Tensor], Tensor], who: str) -> None:
        self.z, self.score, self.who = z, score, who
        super().__init__(Size(z.shape[:-1]), event, validate_args=False)

    @property
    def support(self) -> Any:
        """Any observation; what its parts may be is the model's own matter."""
        return constraints.independent(constraints.real, len(self.event_shape))  # type: ignore[no-untyped-call]

    def log_prob(self, value: Tensor) -> Tensor:
        """Log likelihood (*L,), nats, of x (B, *X) or (*L, *X)."""
        if value.shape[value.ndim - len(self.event_shape) :] != self.event_shape:
            raise ShapeError(f"{self.who} describes x of shape {tuple(self.event_shape)}, got {tuple(value.shape)}")
        value = value.expand(*self.batch_shape, *self.event_shape).reshape(-1, *self.event_shape)
        return self.score(self.z.reshape(-1, self.z.shape[-1]), value).reshape(self.batch_shape)

    @property
    def mean(self) -> Tensor:
        """Not to be had without x."""
        raise Unsupported(f"{self.who} has no mean of x given z alone: it also needs parts of x; use log_prob(x)")

    @property
    def variance(self) -> Tensor:
        """Not to be had, as the mean."""
        raise Unsupported(f"{self.who} has no variance of x given z alone: it also needs parts of x; use log_prob(x)")
