"""The bench on which a remedy is tested: copies, snapshots and a short training with everything reproducible."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from uncollapse.draw import Draw, Model, draw
from uncollapse.objective import Objective, parts_of
from uncollapse.remedies import Remedy

__all__ = ["Bench", "Training", "alike", "scramble", "snapshot"]


@dataclass(frozen=True)
class Bench:
    """What a check works on: how to make the remedy, a model and a batch."""

    make: Callable[[], Remedy]
    model: Any
    x: Tensor
    steps: int

    def fresh(self) -> tuple[Any, Remedy]:
        """An untouched copy of the model and of the remedy, on the device and in the type of x."""
        model = copy.deepcopy(self.model).to(self.x.device, self.kind)
        return model, self.make().to(self.x.device, self.kind)

    @property
    def kind(self) -> torch.dtype:
        """The type of all numbers of a pass: that of x, or float32 where x are whole numbers (token ids)."""
        return self.x.dtype if self.x.is_floating_point() else torch.float32

    def draw(self, model: Model, x: Tensor | None = None, samples: int = 1) -> Draw:
        """A pass with the same noise at every call."""
        torch.manual_seed(0)
        return draw(model, self.x if x is None else x, samples)

    def term(self, remedy: Remedy, one: Draw, model: Model) -> Tensor:
        """The term with the same noise at every call."""
        torch.manual_seed(1)
        return remedy.term(one, model)


class Training:
    """A few steps of training, reproducible from the step number alone.

    Arguments:
        model, remedy: trained in place.
        x: the batch of every step.
    """

    def __init__(self, model: Any, remedy: Remedy, x: Tensor) -> None:
        self.model, self.objective, self.x = model, Objective([remedy]), x
        self.parts = parts_of(model, remedy)
        self.epoch = 0.0
        self.optimiser = torch.optim.Adam([p for members in self.parts.values() for p in members], lr=1e-2)

    def run(self, first: int, last: int) -> None:
        """Steps `first` to `last - 1`."""
        for step in range(first, last):
            torch.manual_seed(1000 + step)
            self.epoch = step / 2
            frozen = self.objective.before_step(self)
            if not frozen <= set(self.parts):
                raise AssertionError(f"before_step should name parts out of {sorted(self.parts)}, got {sorted(frozen)}")
            self.step(self.loss(self.x), *(set(self.parts) - frozen))
            self.objective.after_step(self.model)

    def batch(self) -> Tensor:
        """A batch for an inner step, the examples in another order."""
        return self.x[torch.randperm(len(self.x)).to(self.x.device)]

    def loss(self, x: Tensor) -> Tensor:
        """The whole objective, (B,) nats."""
        return torch.stack(list(self.objective.of(self.model, x).values())).sum(0)

    @contextmanager
    def only(self, *parts: str) -> Iterator[None]:
        """While it holds, gradients are computed for the parts named alone."""
        others = [p for name, members in self.parts.items() if name not in parts for p in members]
        for parameter in others:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in others:
                parameter.requires_grad_(True)

    def validation(self) -> Iterator[Tensor]:
        """Both halves of the batch."""
        yield from self.x.chunk(2)

    def step(self, loss: Tensor, *parts: str) -> None:
        """One optimiser step on the parts named."""
        self.optimiser.zero_grad(set_to_none=True)
        loss.mean().backward()  # type: ignore[no-untyped-call]
        for name, members in self.parts.items():
            if name not in parts:
                for parameter in members:
                    parameter.grad = None
        self.optimiser.step()

    def state(self) -> dict[str, Any]:
        """Everything that a checkpoint holds."""
        owners = {"model": self.model, "remedies": self.objective, "optimiser": self.optimiser}
        return {name: owner.state_dict() for name, owner in owners.items()}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a checkpoint."""
        self.model.load_state_dict(state["model"])
        self.objective.load_state_dict(state["remedies"])
        self.optimiser.load_state_dict(state["optimiser"])


@torch.no_grad()
def scramble(module: nn.Module) -> None:
    """Move every parameter and every saved buffer to another value."""
    for tensor in module.state_dict(keep_vars=True).values():
        if isinstance(tensor, Tensor) and tensor.is_floating_point():
            tensor.add_(torch.rand_like(tensor) + 0.1)


TORCHS_OWN = frozenset(vars(nn.Module())) | {"training"}


def snapshot(module: nn.Module, statistics: bool = True) -> dict[str, Any]:
    """State dict and plain attributes of a module and its children, as copies.

    Arguments:
        module: any.
        statistics: whether the running statistics of normalisation layers count; if not, attributes that start
            with an underscore do not count either: `term` may hand something over to `after_step` through them.
    """
    skipped = (
        set() if statistics else {f"{name}." if name else "" for name, part in module.named_modules() if norm(part)}
    )
    state = {
        name: copy.deepcopy(value)
        for name, value in module.state_dict().items()
        if name.rpartition(".")[0] + "." not in skipped
    }
    own = attributes(module)
    return state | {name: value for name, value in own if statistics or not name.rpartition(".")[2].startswith("_")}


def norm(part: nn.Module) -> bool:
    """Whether a layer keeps running statistics, which move in every pass of training by their nature."""
    return getattr(part, "running_mean", None) is not None


def attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """What an author hung on a module and its children beside parameters, buffers and modules."""
    for name, part in module.named_modules():
        for key in sorted(set(vars(part)) - TORCHS_OWN):
            value = vars(part)[key]
            if isinstance(value, torch.Generator):
                value = value.get_state()
            elif not callable(value):
                value = copy.deepcopy(value)
            yield (f"{name}.{key}" if name else key), value


def alike(a: Any, b: Any) -> bool:
    """Whether two values are the same to the last bit, containers element by element."""
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        same = isinstance(a, Tensor) and isinstance(b, Tensor) and a.shape == b.shape and a.dtype == b.dtype
        return same and bool(((a == b) | (a.isnan() & b.isnan())).all())
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(alike(a[key], b[key]) for key in a)
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple | set | frozenset) or type(a).__name__ == "deque":
        return len(a) == len(b) and all(alike(one, two) for one, two in zip(a, b, strict=True))
    if isinstance(a, bool | int | float | complex | str | bytes | type(None)):
        return bool(a == b)
    return True  # functions, schedules and foreign objects are settings, not state
