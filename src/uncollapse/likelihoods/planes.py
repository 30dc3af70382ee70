"""What readers share: how many numbers a decoder gives for every value, and deviations that do not vanish."""

import math
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from uncollapse.distributions import observation
from uncollapse.errors import BadInput, ShapeError

__all__ = ["above", "halves", "log_least"]


def halves(raw: Any, user: str) -> tuple[Tensor, Tensor]:
    """Two tensors (B, *X) from one (B, 2C, ...) whose first half of channels, or of values, is the first of them.

    Raises:
        ShapeError: when the decoder gives anything else.
    """
    both = observation(raw)
    if both.shape[1] % 2:
        raise ShapeError(
            f"{user} needs two numbers for every value, so the decoder should return (B, 2C, ...) for x (B, C, ...), "
            f"got {tuple(both.shape)}; double the channels of its last layer"
        )
    first, second = both.chunk(2, 1)
    return first, second


def log_least(user: str, smallest: Any) -> float:
    """The logarithm of the smallest standard deviation.

    Raises:
        BadInput: when it is not a positive number.
    """
    if isinstance(smallest, bool) or not isinstance(smallest, int | float) or not 0 < smallest < math.inf:
        raise BadInput(f"the smallest deviation of {user} should be a positive number, got {smallest!r}")
    return math.log(smallest)


def above(log_scale: Tensor, least: float) -> Tensor:
    r"""A log standard deviation bent so that it stays above `least`: $l + \mathrm{softplus}(s - l)$.

    Example:
        >>> above(torch.tensor([-100.0, 3.0]), -6.0).round(decimals=3)
        tensor([-6.,  3.])
    """
    return least + F.softplus(log_scale - least)
