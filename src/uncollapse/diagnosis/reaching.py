"""Whether, in somebody's training loss, what the decoder says can teach the encoder anything."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from uncollapse.diagnosis.guarding import as_it_was
from uncollapse.diagnosis.matching import described
from uncollapse.diagnosis.slopes import attempt, positional, statistics
from uncollapse.diagnosis.subject import Subject
from uncollapse.diagnosis.taps import Cut, frontier, split
from uncollapse.errors import UncollapseError

__all__ = ["reached"]


def reached(subject: Subject, count: int = 16) -> bool | None:
    """Whether the decoder's output hangs on the encoder's by a gradient, in one call of the loss; None if unknown.

    The encoder's output is held in place as a leaf, and the decoder's output is differentiated by it: a `detach()`, a
    `no_grad()` or a code that is drawn without reparametrisation between them leaves nothing.
    """
    loss = subject.loss or subject.adapted.loss
    if loss is None or positional(loss) != 2 or not subject.adapted.decodes or len(subject.x) < 2:
        return None
    x, model = subject.some(count), subject.model
    owners = [subject.native, model]
    try:
        with as_it_was(subject.module), torch.random.fork_rng([]), torch.enable_grad():
            z = subject.z[:count]
            head = frontier(owners, lambda x: statistics(model.posterior(x)), x)
            tail = frontier(owners, lambda z: described(model.likelihood(z), x), z)
            return None if head is None or tail is None else connected(loss, subject.native, x, head, tail)
    except (UncollapseError, RuntimeError, NotImplementedError, ValueError, TypeError):
        return None


def connected(loss: Callable[..., Any], native: Any, x: Tensor, head: list[Any], tail: list[Any]) -> bool | None:
    """Whether an output of the tail has a gradient by the head's outputs; None when the loss passes only one side."""
    outputs: list[Tensor] = []

    def note(out: Any) -> None:
        found = split(out)
        outputs.extend(found[0] if found is not None else [])

    with Cut(head) as inner, ExitStack() as stack:
        for place in tail:
            stack.enter_context(place.answering(note))
        attempt(lambda: loss(native, x))
    if not inner.leaves or not outputs:
        return None
    live = [one.double().sum() for one in outputs if one.requires_grad]
    if not live:
        return False
    gradients = torch.autograd.grad(torch.stack(live).sum(), inner.leaves, allow_unused=True)
    return any(one is not None for one in gradients)
