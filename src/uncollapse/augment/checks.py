"""What augmentations ask of a batch and of their own settings."""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from uncollapse.distributions import describe, precise
from uncollapse.errors import BadInput, ShapeError

__all__ = ["Pair", "images", "interval", "number", "share"]

Pair = tuple[float, float]


def images(x: Tensor, user: str) -> Tensor:
    """Images (B, C, H, W) in float32 or better."""
    if x.ndim != 4 or not x.is_floating_point():
        raise ShapeError(
            f"{user} needs images (B, C, H, W) of real numbers, got {describe(x)} of {x.dtype}; "
            "reshape them, or take bits, noise, dropout or tokens for what are no images"
        )
    return precise(x)


def number(owner: Any, name: str, low: float, high: float) -> float:
    """A field that lies between two values."""
    value = getattr(owner, name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high or value == math.inf:
        raise BadInput(f"{name} of {type(owner).__name__} should be a number from {low:g} to {high:g}, got {value!r}")
    return float(value)


def share(owner: Any, name: str) -> None:
    """A field that is a probability."""
    number(owner, name, 0, 1)


def interval(owner: Any, name: str, low: float, high: float) -> Pair:
    """A field that is a pair of rising numbers; it is kept as a tuple."""
    value = getattr(owner, name)
    pair = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else ()
    numbers = len(pair) == 2 and all(isinstance(one, int | float) and not isinstance(one, bool) for one in pair)
    if not numbers or not low <= pair[0] <= pair[1] <= high:
        raise BadInput(
            f"{name} of {type(owner).__name__} should be two rising numbers, the first positive, got {value!r}"
        )
    kept = (float(pair[0]), float(pair[1]))
    object.__setattr__(owner, name, kept)
    return kept
