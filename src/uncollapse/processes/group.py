"""Who works together: the processes that share the rows of every batch."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

__all__ = ["Group", "active", "using"]


@dataclass(frozen=True)
class Group:
    """This process among others.

    Arguments:
        rank: its number, from 0.
        size: R, how many there are.
        group: of torch, or None for all processes.

    Example:
        >>> Group(rank=1, size=3).rows(8)
        slice(3, 6, None)
    """

    rank: int
    size: int
    group: Any = None

    def spans(self, n: int) -> list[int]:
        """How many of n rows each process has: as equal as can be, the first ones one more."""
        return [n // self.size + (rank < n % self.size) for rank in range(self.size)]

    def rows(self, n: int) -> slice:
        """The rows of this process among n."""
        spans = self.spans(n)
        start = sum(spans[: self.rank])
        return slice(start, start + spans[self.rank])

    def add(self, value: torch.Tensor) -> torch.Tensor:
        """The sum over all processes, in place."""
        dist.all_reduce(value, group=self.group)
        return value

    def told(self, value: Any) -> Any:
        """A plain object of the first process, known to all."""
        box = [value]
        dist.broadcast_object_list(
            box, src=0 if self.group is None else dist.get_global_rank(self.group, 0), group=self.group
        )
        return box[0]


_active: Group | None = None


def active() -> Group | None:
    """The processes that share rows now; None where this process is alone, or inside somebody's rows."""
    return _active


@contextmanager
def using(group: Group | None) -> Iterator[None]:
    """Share rows among these processes while the block runs; None shares nothing."""
    global _active
    before, _active = _active, group
    try:
        yield
    finally:
        _active = before
