"""Rows of token ids: 0 pads, 1 begins, 2 ends, 3 is unknown; a stored row is its words, then 2, then zeros."""

from typing import Any

import torch
from torch import Tensor

from uncollapse.distributions import describe
from uncollapse.errors import BadInput, ShapeError
from uncollapse.nets.shapes import check_shape, whole
from uncollapse.processes import longest

__all__ = ["BEGIN", "END", "PAD", "UNKNOWN", "begun", "check_text", "ids_of", "trimmed"]

PAD, BEGIN, END, UNKNOWN = range(4)


def check_text(shape: Any, vocabulary: Any, user: str) -> int:
    """The length T of a row of token ids.

    Raises:
        ShapeError: when the shape is not (T,).
        BadInput: when the vocabulary is no number, or holds nothing but the four special ids.
    """
    checked = check_shape(shape, user)
    if len(checked) != 1:
        raise ShapeError(f"{user} expects rows of token ids of shape (T,), got {checked}")
    if not whole(vocabulary) or vocabulary < END + 2:
        raise BadInput(
            f"{user} expects the size of the vocabulary, the ids 0 (padding), 1 (begin), 2 (end) and 3 (unknown) "
            f"included, got {vocabulary!r}"
        )
    return checked[0]


def ids_of(x: Tensor, vocabulary: int) -> Tensor:
    """Rows of token ids (N, T) as int64; floats are taken where they hold whole numbers.

    Raises:
        ShapeError: when x is not a table.
        BadInput: when a number is no id of the vocabulary.
    """
    if x.ndim != 2:
        raise ShapeError(f"texts should be rows of token ids (B, T), got {describe(x)}")
    if x.dtype in (torch.float16, torch.bfloat16):
        raise BadInput(
            "token ids do not survive half precision; hand over a part of a data set with tokens=True, whose batches "
            "stay whole numbers"
        )
    ids = x.long()
    if x.is_floating_point() and not torch.equal(ids.to(x.dtype), x):
        raise BadInput("token ids should be whole numbers; hand over rows of int64, such as a data set's part gives")
    low, high = torch.aminmax(ids) if ids.numel() else (ids.new_zeros(()), ids.new_zeros(()))
    if int(low) < 0 or int(high) >= vocabulary:
        raise BadInput(
            f"token ids should lie in 0 to {vocabulary - 1} because vocabulary={vocabulary}, got {int(low)} to "
            f"{int(high)}"
        )
    return ids


def trimmed(ids: Tensor) -> Tensor:
    """The rows without the columns in which all are padding; one column at least.

    Example:
        >>> trimmed(torch.tensor([[5, 2, 0, 0], [7, 8, 2, 0]])).shape
        torch.Size([2, 3])
    """
    used = (ids != PAD).any(0).nonzero()
    return ids[:, : longest(int(used[-1]) + 1 if len(used) else 1, ids.device)]


def begun(ids: Tensor) -> Tensor:
    """The rows with the begin token before them.

    Example:
        >>> begun(torch.tensor([[5, 2]]))
        tensor([[1, 5, 2]])
    """
    return torch.nn.functional.pad(ids, (1, 0), value=BEGIN)
