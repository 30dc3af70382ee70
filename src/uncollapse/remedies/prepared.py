"""What a critic multiplies codes with, kept from step to step for the posteriors of a ring."""

from typing import Any

import torch
from torch import Tensor

from uncollapse.functional import gaussian_columns
from uncollapse.remedies.bank import Bank

__all__ = ["Prepared"]

TILE = 256  #: posteriors that are prepared together, always the same ones: a resumed run then has the same bits


class Prepared:
    """Columns of `gaussian_columns` for a bank of means and standard deviations, made where the bank was written.

    It holds nothing that the bank does not tell: copies and pickles start empty, and whatever else was done to the
    bank is noticed.

    Example:
        >>> bank, prepared = Bank(size=8, width=2), Prepared()
        >>> prepared.put(bank, torch.ones(3, 2))
        >>> prepared.of(bank).shape
        torch.Size([3, 3])
    """

    def __init__(self) -> None:
        self.rows: Tensor | None = None  # (Q, 2 D + 1), float64
        self.vectors: Tensor | None = None  # the tensor that they were made from
        self.moment = (-1, -1)

    def of(self, bank: Bank) -> Tensor:
        """Columns (2 D + 1, at most Q) of what is there, without gradient."""
        filled = len(bank.filled)
        if torch.compiler.is_compiling():  # which cannot ask for a version
            mean, scale = bank.filled.chunk(2, 1)
            return gaussian_columns(mean, scale, mean.new_zeros(mean.shape[1])).right
        if not self.knows(bank):
            self.make(bank, 0, filled)
        return self.rows[:filled].T if self.rows is not None else bank.filled.new_zeros(bank.filled.shape[1] + 1, 0)

    def put(self, bank: Bank, vectors: Tensor) -> None:
        """Write vectors (B, 2 D) over the oldest."""
        known = self.knows(bank)
        bank.put(vectors)
        end, count = (bank.written - 1) % bank.size + 1, min(len(vectors), bank.size)
        if known:
            self.make(bank, max(end - count, 0), end)
            self.make(bank, bank.size + min(end - count, 0), bank.size)  # what did not fit before the end

    @torch.no_grad()
    def make(self, bank: Bank, start: int, stop: int) -> None:
        """Prepare the tiles with the slots from start to stop in them."""
        for first in range(start - start % TILE, stop, TILE):
            part = slice(first, min(first + TILE, bank.size))
            mean, scale = bank.vectors[part].chunk(2, 1)
            made = gaussian_columns(mean, scale, torch.zeros_like(mean[0])).right.T
            if self.rows is None or self.rows.device != made.device:
                self.rows = made.new_zeros(bank.size, made.shape[1])
            self.rows[part] = made
        self.vectors, self.moment = bank.vectors, moment(bank)

    def knows(self, bank: Bank) -> bool:
        """Whether nobody else has moved the bank."""
        return self.vectors is bank.vectors and self.moment == moment(bank)

    def __reduce__(self) -> Any:
        return Prepared, ()


def moment(bank: Bank) -> tuple[int, int]:
    """What changes with every change of a bank."""
    return bank.vectors._version, bank.written
