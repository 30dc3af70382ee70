"""The one plug-in class. A remedy writes one or more of five methods; everything else is final.

| method | does | shape |
|---|---|---|
| `prepare(x)` | replaces the batch before it is encoded, in training mode only | (B, *X) to (B, *X) |
| `term(draw, model)` | adds a penalty to the loss | (B,) nats |
| `rate(kl)` | reshapes the KL | (B, D) to (B, D) nats |
| `before_step(inner)` | works ahead of the main step, names the parts that it leaves alone | |
| `after_step(model)` | moves the remedy's own state; the only place where it moves | |

What `after_step` needs of the batch (keys for a queue, say), `term` hands over in an attribute that starts with an
underscore, in training mode only; `after_step` takes it and clears it.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol, get_args

import torch
from torch import Tensor, nn

from uncollapse.draw import Draw, Model
from uncollapse.errors import BadInput
from uncollapse.schedules import Constant, Schedule, arrival, as_schedule

__all__ = ["Inner", "Remedy"]


class Inner(Protocol):
    """What a remedy may do ahead of the main step (the inner loop of aggressive training, say)."""

    model: Model
    x: Tensor  #: the batch of the main step, (B, *X)
    epoch: float  #: passes over the data so far

    def batch(self) -> Tensor:
        """A fresh training batch (B, *X), drawn reproducibly."""
        ...

    def loss(self, x: Tensor) -> Tensor:
        """The whole objective on a batch, (B,) nats."""
        ...

    def step(self, loss: Tensor, *parts: str) -> None:
        """One optimiser step on the mean of `loss`, moving only the parts named ("encoder", "decoder", "remedies")."""
        ...

    def only(self, *parts: str) -> AbstractContextManager[None]:
        """While it holds, a loss computes gradients for the parts named and for no other: cheaper, but a norm over
        all parameters is then one over these."""
        ...

    def validation(self) -> Iterator[Tensor]:
        """The validation part in batches (B, *X), the same every time."""
        ...


class Remedy(nn.Module):
    """Something against posterior collapse that plugs into any training loop.

    Arguments:
        weight: a number of at least 0 or a schedule (a function of the step), multiplied with `term`.

    Raises:
        BadInput: when the weight is negative, not finite, or neither a number nor a function.

    A subclass says what the contract (`uncollapse.testing.check_remedy`) may expect of it in class attributes.
    The step counter is a plain number that travels in the state dict as `_extra_state`: reading a buffer
    on an accelerator would make the processor wait at every step.
    """

    sources: tuple[str, ...] = ()  #: how to cite the method, "Authors, Year, Title, link"
    reaches_encoder: bool = True  #: whether the gradient of `term` or `rate` is meant to reach the encoder
    draws_noise: bool = False  #: whether `term` draws random numbers of its own (augmentations, say)

    def __init__(self, weight: float | Schedule = 1.0) -> None:
        super().__init__()
        self.weight = as_schedule(weight)
        if isinstance(self.weight, Constant):
            at_least_zero("the weight of a remedy", self.weight.value)
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

    @property
    def keeps(self) -> tuple[str, ...]:
        """Dotted paths of parts of the model whose output `term` would like to find in `draw.kept`."""
        return ()

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """Networks of its own that pass examples (B, *X) row by row; several processes share the rows."""
        return ()

    def prepare(self, x: Tensor) -> Tensor:
        """The batch that is encoded and described, (B, *X), from the batch as loaded; asked in training mode only."""
        return x

    def term(self, draw: Draw, model: Model) -> Tensor:
        """The penalty before weighting, (B,) nats."""
        return torch.zeros_like(draw.log_px[0])

    def rate(self, kl: Tensor) -> Tensor:
        """The KL that is minimised, from the KL as it is; both (B, D) nats."""
        return kl

    def settled(self, draw: Draw, model: Model) -> Tensor:
        """What this remedy adds to the negative ELBO when checkpoints are compared, (B,) nats.

        The same function at every step: the reshaped KL and the weighted term as they will be when every schedule has
        arrived. A remedy whose state keeps moving (a controller) says here what it is after.
        """
        now, self.step = self.step, max(self.arrives, self.step)
        try:
            extra = (self.rate(draw.kl) - draw.kl).sum(1)
            return extra + self(draw, model) if self.has_term else extra
        finally:
            self.step = now

    def before_step(self, inner: Inner) -> frozenset[str]:
        """Work ahead of the main step; returns the parts that the main step must not move."""
        return frozenset()

    def after_step(self, model: Model) -> None:
        """Move own state after the optimiser's step. Whoever overrides this calls it too: it counts the steps."""
        self.step += 1

    def ceiling(self, batch: int) -> float | None:
        """The most information that this remedy's own bound can show at this batch size, nats; None without one.

        Past it the term still shrinks a little with every nat, so that a large weight carries information beyond.
        """
        return None

    def get_extra_state(self) -> Any:
        """The step counter, as a tensor, for the state dict."""
        return torch.tensor(self.step)

    def set_extra_state(self, state: Any) -> None:
        """Restore the step counter."""
        self.step = int(state)

    def extra_repr(self) -> str:
        """Shown by `print`."""
        return f"weight={shown(self.weight)}"


def at_least_zero(what: str, value: float) -> float:
    """The value as a float.

    Raises:
        BadInput: when it is not a finite number of at least 0.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise BadInput(f"{what} should be a finite number of at least 0, got {value!r}")
    return float(value)


def one_of(what: str, value: Any, choices: Any) -> Any:
    """The value, if it is one of a Literal's.

    Raises:
        BadInput: when it is not.
    """
    if value not in get_args(choices):
        raise BadInput(f"{what} should be one of {', '.join(get_args(choices))}, got {value!r}")
    return value


def shown(value: Any) -> str:
    """A text that is the same in every process: functions by name, numbers bare, anything else as it prints."""
    if isinstance(value, Constant):
        return f"{value.value:g}"
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return repr(value)
