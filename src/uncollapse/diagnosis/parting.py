"""Batches as people's loaders yield them, taken apart into inputs and labels."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uncollapse.data.batch import pair_of
from uncollapse.diagnosis.labels import one_hot
from uncollapse.diagnosis.refusals import reason
from uncollapse.diagnosis.unpacking import table
from uncollapse.distributions import describe
from uncollapse.errors import ShapeError, UncollapseError, WorkFailed

__all__ = ["Parts", "apart", "supplied"]

BYTES = "The data are bytes; they were divided by 255."


class Parts:
    """Takes batches apart into inputs and labels, and keeps what there is to say about them.

    Arguments:
        labelled: whether labels are known already, so that those of the batches do not count.

    Attributes:
        words: number of every label that is a word, in the order in which they came.
        remarks: what was left out.
    """

    def __init__(self, labelled: bool = False) -> None:
        self.labelled = labelled
        self.words: dict[str, int] = {}
        self.remarks: list[str] = []
        self.told = False
        self.shape: tuple[int, ...] | None = None

    def __call__(self, batch: Any) -> tuple[Tensor | np.ndarray, Tensor | None]:
        """(x, labels or None) of one batch.

        Raises:
            ShapeError: when x is no batch of examples, or of another shape than the batches before.
        """
        x, y = apart(batch)
        if not isinstance(x, Tensor | np.ndarray) or x.ndim < 2:
            raise ShapeError(
                f"every batch should be x (B, *X) or a pair (x, labels), got {describe(batch)}; inputs come first, and "
                "every example needs at least one dimension"
            )
        if self.shape is not None and tuple(x.shape[1:]) != self.shape:
            raise ShapeError(
                f"all examples should have one shape, but one batch has {self.shape} and another {tuple(x.shape[1:])}; "
                "pad or resize them"
            )
        self.shape = tuple(x.shape[1:])
        self.look(x)
        return table(x), self.labels(y, len(x))

    def look(self, x: Any) -> None:
        """Remark on bytes, which are divided by 255."""
        if BYTES not in self.remarks and str(x.dtype) in {"uint8", "torch.uint8"} and len(x) and x.max() > 1:
            self.remarks.append(BYTES)

    def labels(self, y: Any, count: int) -> Tensor | None:
        """Labels (B,) as numbers; None where they are none, with a remark."""
        if y is None or self.labelled:
            return None
        if isinstance(y, tuple | list) and len(y) == count and all(isinstance(one, str) for one in y):
            return torch.tensor([self.words.setdefault(one, len(self.words)) for one in y])
        try:
            values = y.detach().cpu() if isinstance(y, Tensor) else torch.as_tensor(np.asarray(y))
        except (TypeError, ValueError):
            self.leave_out(describe(y))
            return None
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        values = values.argmax(1) if one_hot(values) else values
        if values.shape != (count,):
            self.leave_out(describe(values))
            return None
        return values

    def leave_out(self, what: str) -> None:
        """Remark that the second part of the batches is no label."""
        if not self.told:
            self.told = True
            self.remarks.append(
                f"The second part of a batch, {what}, is not one label an example, and was not taken as labels."
            )


def apart(batch: Any) -> tuple[Any, Any]:
    """(x, labels or None) of a batch that is a dictionary, a (named) tuple, a list or a table."""
    if isinstance(batch, Mapping):
        return pair_of(batch)
    if isinstance(batch, tuple) and hasattr(batch, "_asdict"):
        try:
            return pair_of(batch._asdict())
        except ShapeError:
            return batch[0], batch[1] if len(batch) > 1 else None
    if isinstance(batch, tuple | list) and batch:
        return batch[0], batch[1] if len(batch) > 1 else None
    return batch, None


def supplied(data: Iterable[Any]) -> Iterator[Any]:
    """The same batches; a loader that fails says after how many."""
    count = 0
    try:
        for batch in data:
            yield batch
            count += 1
    except UncollapseError:
        raise
    except Exception as error:  # somebody's loader may raise anything
        raise WorkFailed(f"the data could not be read after {count} batches: {reason(error)}") from error
