"""What a remedy may do ahead of a step."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from uncollapse.plan import even_pieces

__all__ = ["Inner"]


class Inner:
    """What a remedy may do ahead of a step (`remedies.Inner`); extra batches are drawn reproducibly."""

    def __init__(self, loop: Any, x: Tensor) -> None:
        self.loop, self.model, self.x, self.count = loop, loop.model, x, 0
        self.epoch = loop.order.epoch(loop.step)

    def batch(self) -> Tensor:
        """A fresh training batch (B, *X)."""
        self.count += 1
        return self.loop.train.take(self.loop.order.extra(self.loop.step, self.count), self.loop.engine.device)  # type: ignore[no-any-return]

    def loss(self, x: Tensor) -> Tensor:
        """The whole objective on a batch, (B,) nats."""
        return torch.stack(list(self.loop.engine.terms(x).values())).sum(0)

    def step(self, loss: Tensor, *parts: str) -> None:
        """One optimiser step that moves only the parts named."""
        self.loop.engine.move(loss.mean(), self.loop.engine.parts - set(parts))

    def only(self, *parts: str) -> AbstractContextManager[None]:
        """While it holds, gradients are computed for the parts named alone."""
        return self.loop.engine.only(set(parts))  # type: ignore[no-any-return]

    def validation(self) -> Iterator[Tensor]:
        """The validation part in batches (B, *X)."""
        for indices in even_pieces(len(self.loop.valid), self.loop.plan.batch_size):
            yield self.loop.valid.take(indices, self.loop.engine.device)
