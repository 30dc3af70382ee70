"""Augmentations of single numbers and tokens, for data of any shape."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from uncollapse.augment.checks import number, share
from uncollapse.distributions import describe
from uncollapse.errors import BadInput, ShapeError

__all__ = ["BitFlip", "Dropout", "Noise", "TokenDropout"]


@dataclass(frozen=True)
class BitFlip:
    """Every number x becomes 1 - x with probability p: for binary data of any shape.

    Example:
        >>> BitFlip(p=1.0)(torch.tensor([[0.0, 1.0]]))
        tensor([[1., 0.]])
    """

    p: float = 0.1

    def __post_init__(self) -> None:
        share(self, "p")

    def __call__(self, x: Tensor) -> Tensor:
        """A view (B, *X)."""
        return torch.where(chance(real(x, "BitFlip"), self.p), 1 - x, x)


@dataclass(frozen=True)
class Noise:
    """Gaussian noise on every number.

    Arguments:
        scale: its standard deviation, in the units of the data.
        low, high: the result is clamped to them; None leaves that side open.

    Example:
        >>> Noise(0.1, low=0, high=1)(torch.rand(2, 16)).shape
        torch.Size([2, 16])
    """

    scale: float = 0.1
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        number(self, "scale", 0, math.inf)
        for name in ("low", "high"):
            if getattr(self, name) is not None:
                number(self, name, -math.inf, math.inf)

    def __call__(self, x: Tensor) -> Tensor:
        """A view (B, *X)."""
        view = x + self.scale * torch.randn_like(real(x, "Noise"))
        return view if self.low is None and self.high is None else view.clamp(self.low, self.high)


@dataclass(frozen=True)
class Dropout:
    """Every number becomes 0 with probability p; the others stay as they are.

    Example:
        >>> Dropout(p=1.0)(torch.ones(1, 3))
        tensor([[0., 0., 0.]])
    """

    p: float = 0.2

    def __post_init__(self) -> None:
        share(self, "p")

    def __call__(self, x: Tensor) -> Tensor:
        """A view (B, *X)."""
        return x.masked_fill(chance(x, self.p), 0)


@dataclass(frozen=True)
class TokenDropout:
    """Tokens of a sequence become the unknown one.

    Arguments:
        p: probability of each token.
        unknown: id of the unknown token; the defaults are those of the vocabularies of He et al. (2019).
        keep: ids that never change: padding, start, end.

    Example:
        >>> TokenDropout(p=1.0)(torch.tensor([[1, 7, 9, 2, 0]]))
        tensor([[1, 3, 3, 2, 0]])
    """

    p: float = 0.2
    unknown: int = 3
    keep: tuple[int, ...] = (0, 1, 2)

    def __post_init__(self) -> None:
        share(self, "p")
        object.__setattr__(self, "keep", tuple(self.keep))
        for token in (self.unknown, *self.keep):
            if isinstance(token, bool) or not isinstance(token, int):
                raise BadInput(f"unknown and keep of TokenDropout should be ids of tokens, got {token!r}")

    def __call__(self, x: Tensor) -> Tensor:
        """A view (B, T)."""
        if x.is_floating_point() or x.dtype == torch.bool:
            raise ShapeError(f"TokenDropout needs integer tokens, got {describe(x)} of {x.dtype}")
        gone = chance(x, self.p)
        for token in self.keep:
            gone = gone & (x != token)
        return x.masked_fill(gone, self.unknown)


def real(x: Tensor, user: str) -> Tensor:
    """The batch, if it holds real numbers."""
    if not x.is_floating_point():
        raise ShapeError(f"{user} needs real numbers, got {describe(x)} of {x.dtype}; tokens is for integers")
    return x


def chance(x: Tensor, p: float) -> Tensor:
    """True with probability p, for every entry of x."""
    return torch.rand(x.shape, device=x.device) < p
