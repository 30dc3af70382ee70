"""The one plug-in class. A remedy writes one or more of four methods; everything else is final.

| method | does | shape |
|---|---|---|
| `term(draw, model)` | adds a penalty to the loss | (B,) nats |
| `rate(kl)` | reshapes the KL | (B, D) to (B, D) nats |
| `before_step(inner)` | works ahead of the main step, names the parts that it leaves alone | |
| `after_step(model)` | moves the remedy's own state; the only place where it moves | |
"""

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from uncollapse.draw import Draw, Model
from uncollapse.schedules import Schedule, arrival, as_schedule

__all__ = ["Inner", "Remedy"]


class Inner(Protocol):
    """What a remedy may do ahead of the main step (the inner loop of aggressive training, say)."""

    model: Model

    def batch(self) -> Tensor:
        """A fresh training batch (B, *X), drawn reproducibly."""
        ...

    def loss(self, x: Tensor) -> Tensor:
        """The whole objective on a batch, (B,) nats."""
        ...

    def step(self, loss: Tensor, *parts: str) -> None:
        """One optimiser step on the mean of `loss`, moving only the parts named ("encoder", "decoder", "remedies")."""
        ...


class Remedy(nn.Module):
    """Something against posterior collapse that plugs into any training loop.

    Arguments:
        weight: a number or a schedule (a function of the step), multiplied with `term`.

    The step counter is a plain number that travels in the state dict as `_extra_state`: reading a buffer
    on an accelerator would make the processor wait at every step.
    """

    sources: tuple[str, ...] = ()  #: how to cite the method, "Authors, Year, Title, link"

    def __init__(self, weight: float | Schedule = 1.0) -> None:
        super().__init__()
        self.weight = as_schedule(weight)
        self.step = 0

    def forward(self, draw: Draw, model: Model) -> Tensor:
        """The weighted term, (B,) nats, to be added to the loss. Final: write `term` instead."""
        return self.current_weight * self.term(draw, model)

    @property
    def current_weight(self) -> float:
        """The weight at this step."""
        return self.weight(self.step)

    @property
    def arrives(self) -> int:
        """The step at which every schedule of this remedy has become final."""
        return arrival(self.weight)

    @property
    def has_term(self) -> bool:
        """Whether this remedy adds a term to the loss."""
        return type(self).term is not Remedy.term

    def term(self, draw: Draw, model: Model) -> Tensor:
        """The penalty before weighting, (B,) nats."""
        return torch.zeros_like(draw.log_px[0])

    def rate(self, kl: Tensor) -> Tensor:
        """The KL that is minimised, from the KL as it is; both (B, D) nats."""
        return kl

    def before_step(self, inner: Inner) -> frozenset[str]:
        """Work ahead of the main step; returns the parts that the main step must not move."""
        return frozenset()

    def after_step(self, model: Model) -> None:
        """Move own state after the optimiser's step. Whoever overrides this calls it too: it counts the steps."""
        self.step += 1

    def ceiling(self, batch: int) -> float | None:
        """The most information in nats that this remedy can add at this batch size; None if it has no such cap."""
        return None

    def get_extra_state(self) -> Any:
        """The step counter, as a tensor, for the state dict."""
        return torch.tensor(self.step)

    def set_extra_state(self, state: Any) -> None:
        """Restore the step counter."""
        self.step = int(state)

    def extra_repr(self) -> str:
        """Shown by `print`."""
        return f"weight={self.weight}"
