"""A ring of what earlier batches left behind, for more candidates than a batch holds."""

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Bank"]


class Bank(nn.Module):
    """The last K vectors of earlier batches; nothing stands in for those that have not come yet.

    How many have come is a plain number that travels in the state dict: asking a buffer for it would make an
    accelerator wait.

    Arguments:
        size: K.
        width: D.

    Example:
        >>> bank = Bank(size=3, width=1)
        >>> bank.put(torch.tensor([[1.0], [2.0]]))
        >>> bank.filled.flatten().tolist()
        [1.0, 2.0]
        >>> bank.put(torch.tensor([[3.0], [4.0]]))
        >>> bank.filled.flatten().tolist()
        [4.0, 2.0, 3.0]
    """

    vectors: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("vectors", torch.zeros(size, width))
        self.written = 0

    @property
    def filled(self) -> Tensor:
        """What is there, (at most K, D), without gradient."""
        return self.vectors[: min(self.written, self.size)]

    @torch.no_grad()
    def put(self, vectors: Tensor) -> None:
        """Write (B, D) over the oldest."""
        self.written += max(len(vectors) - self.size, 0)  # as if the ones that do not fit had been overwritten
        vectors = vectors[-self.size :]
        start = self.written % self.size
        for part in (vectors[: self.size - start], vectors[self.size - start :]):
            self.vectors[start : start + len(part)] = part
            start = 0
        self.written += len(vectors)

    def get_extra_state(self) -> Any:
        """How many were ever written, as a tensor, for the state dict."""
        return torch.tensor(self.written)

    def set_extra_state(self, state: Any) -> None:
        """Restore the count."""
        self.written = int(state)

    def extra_repr(self) -> str:
        """Shown by `print`."""
        return f"size={self.size}"
