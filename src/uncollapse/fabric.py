"""Devices, precision and the optimiser: a step of training."""

import math
import signal
import threading
from collections.abc import Callable, Iterator, Set
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from uncollapse.compiling import Compiled
from uncollapse.data import Part
from uncollapse.errors import BadInput, NonFinite
from uncollapse.joining import fabric_of
from uncollapse.objective import Objective, parts_of
from uncollapse.optimisers import Stepper, optimiser
from uncollapse.plan import Settings
from uncollapse.precision import lay_out
from uncollapse.processes.shards import clip, in_pieces, pieces_like, share_out
from uncollapse.sharding import shares_out
from uncollapse.sides import sides
from uncollapse.team import Team, networks

__all__ = ["Engine", "interruptible"]


class Step(nn.Module):
    """Model and objective as one module, so that the engine wraps a single forward pass."""

    def __init__(self, model: nn.Module, objective: Objective, samples: int) -> None:
        super().__init__()
        self.model, self.objective, self.samples = model, objective, samples

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Named terms, (B,) nats each."""
        return self.objective.of(self.model, x, self.samples)  # type: ignore[arg-type]


class Engine:
    """Runs steps of one model on one device in one precision."""

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        plan: Settings,
        precision: str,
        layout: str = "plain",
        team: Team | None = None,
    ) -> None:
        self.team = team or Team()
        self.fabric = fabric_of(plan, self.team.size, precision)
        self.plan, self.model, self.objective, self.precision = plan, model, objective, precision
        self.device = self.fabric.device
        self.step = Step(model, objective, plan.samples).to(self.device)
        self.team.start_alike(self.step)
        if self.team.group is not None and shares_out(plan, self.team):
            prior = sides(model).get("prior", [])  # densities that are evaluated long after the pass
            parts = [one for one in networks(model, objective) if not any(one is other for other in prior)]
            share_out(parts, self.team.group, self.device)
        self.layout = layout
        if layout != "plain":
            lay_out(model, layout)
        self.members = {name: members for name, members in parts_of(model, objective).items() if members}
        self.parameters = [p for members in self.members.values() for p in members]
        if not self.parameters:
            raise BadInput("the model has no trainable parameter; check requires_grad")
        self.optimiser = optimiser(self.parameters, plan)
        self.advance = Stepper(self.optimiser)
        self.call: Callable[[Tensor], Any] = self.step.forward
        if plan.compile and self.team.size == 1:
            self.call = Compiled(self.step, self.device)
        self.watched: tuple[Tensor, Tensor] | None = None

    @property
    def parts(self) -> frozenset[str]:
        """Names of the parts that can be frozen: encoder, decoder, remedies, other."""
        return frozenset(self.members)

    @property
    def lr(self) -> float:
        """The current learning rate."""
        return float(self.optimiser.param_groups[0]["lr"])

    @contextmanager
    def only(self, parts: Set[str]) -> Iterator[None]:
        """While it holds, gradients are computed for these parts alone."""
        others = [p for name, members in self.members.items() if name not in parts for p in members if not in_pieces(p)]
        for parameter in others:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in others:
                parameter.requires_grad_(True)

    def sparing(self, frozen: Set[str]) -> AbstractContextManager[None]:
        """No gradients for parts that will not move, unless a clip has to see the whole gradient."""
        return self.only(self.parts - frozen) if frozen and self.plan.clip is None else nullcontext()

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision of the training step, for evaluation."""
        return self.fabric.autocast()

    def seed(self, seed: int) -> None:
        """Seed the generators that a step draws from (the CPU's and this device's)."""
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        elif self.device.type == "mps":
            torch.mps.manual_seed(seed)

    def place(self, part: Part) -> Part:
        """The part on the device if it takes less than half of the free memory there; else it is streamed."""
        if self.device.type == "cuda" and part.nbytes < torch.cuda.mem_get_info(self.device)[0] // 2:
            return part.to(self.device)
        return part

    def terms(self, x: Tensor) -> dict[str, Tensor]:
        """Named terms of the objective, (B,) nats each."""
        if self.precision == "32":
            return self.call(x)  # type: ignore[no-any-return]
        with self.autocast():
            return self.call(x)  # type: ignore[no-any-return]

    def compiling(self) -> AbstractContextManager[Any]:
        """What has to hold while steps are compiled."""
        return Compiled.moving() if self.plan.compile else nullcontext()

    @property
    def remarks(self) -> list[str]:
        """What a user should know of how the run was made."""
        if self.plan.compile and self.team.size > 1:
            return ["not compiled: several processes share every batch"]
        return [self.call.remark] if isinstance(self.call, Compiled) and self.call.remark else []

    def release(self) -> None:
        """Leave the model's memory as it is usual."""
        if self.layout != "plain":
            lay_out(self.model, "plain")

    def move(self, loss: Tensor, frozen: Set[str]) -> None:
        """Backward, clip and one optimiser step that leaves the frozen parts alone."""
        for parameter in self.parameters:
            parameter.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        self.team.average(self.parameters)
        if self.plan.clip is not None:  # the whole gradient, frozen parts included, as He et al. (2019) do
            self.clip(self.plan.clip)
        for name in frozen:
            for parameter in self.members.get(name, []):
                parameter.grad = None
        self.advance()

    def clip(self, most: float) -> None:
        """Scale the gradients so that their norm is at most this."""
        if self.team.group is not None and any(map(in_pieces, self.parameters)):
            clip(self.parameters, most, self.team.group)
        else:
            torch.nn.utils.clip_grad_norm_(self.parameters, most)

    def guard(self, means: Tensor, terms: dict[str, Tensor], indices: Tensor, step: int) -> None:
        """Stop at a non-finite loss, before it reaches the weights.

        The CPU is asked at every step. An accelerator would have to wait for the answer, so there the first bad
        step is remembered on the device and asked for every `log_every` steps.
        """
        if self.device.type == "cpu":
            if not all(map(math.isfinite, means.tolist())):
                raise NonFinite(blame(terms, indices, step))
            return
        bad = ~means.isfinite()
        where = torch.where(bad.any(), torch.tensor(step, device=self.device), torch.tensor(-1, device=self.device))
        if self.watched is None:
            self.watched = (where, bad)
        else:
            fresh = self.watched[0] < 0
            self.watched = (torch.where(fresh, where, self.watched[0]), torch.where(fresh, bad, self.watched[1]))
        if step % self.plan.log_every == 0 and int(self.watched[0]) >= 0:
            names = [name for name, is_bad in zip(terms, self.watched[1].tolist(), strict=True) if is_bad]
            raise NonFinite(f"the term {', '.join(names)} is NaN or infinite at step {int(self.watched[0])}; {ADVICE}")

    def halve(self) -> None:
        """Halve the learning rate."""
        for group in self.optimiser.param_groups:
            group["lr"] *= 0.5

    def state(self) -> dict[str, Tensor]:
        """Weights, the state of the remedies and of the optimiser, as named tensors."""
        tensors = {f"step.{name}": value for name, value in self.step.state_dict().items()}
        for index, parameter in enumerate(self.parameters):
            for key, value in self.optimiser.state.get(parameter, {}).items():
                if value is not None:
                    tensors[f"optimiser.{index}.{key}"] = torch.as_tensor(value)
        return tensors

    def load(self, module: nn.Module, tensors: dict[str, Tensor]) -> None:
        """Put whole tensors into a module, whose own may be in pieces."""
        own = module.state_dict()
        module.load_state_dict({name: pieces_like(value, own.get(name, value)) for name, value in tensors.items()})

    def restore(self, tensors: dict[str, Tensor], lr: float) -> None:
        """Take up what `state` gave."""
        self.load(self.step, {n[5:]: v for n, v in tensors.items() if n.startswith("step.")})
        state: dict[int, dict[str, Tensor]] = {}
        order = [id(p) for group in self.optimiser.param_groups for p in group["params"]]
        for name, value in tensors.items():
            if name.startswith("optimiser."):
                _, index, key = name.split(".", 2)
                like = self.parameters[int(index)]  # the fused kernels want weights and state in one layout
                value = torch.empty_like(like).copy_(pieces_like(value, like)) if value.shape == like.shape else value
                state.setdefault(order.index(id(like)), {})[key] = value
        self.optimiser.load_state_dict({"state": state, "param_groups": self.optimiser.state_dict()["param_groups"]})
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        self.advance = Stepper(self.optimiser)


ADVICE = "look at these examples, lower the learning rate, bring the data to about unit size, or set clip="


def blame(terms: dict[str, Tensor], indices: Tensor, step: int) -> str:
    """Which term is not finite, at which step, for which training examples."""
    for name, term in terms.items():
        bad = (~term.detach().isfinite()).cpu()
        if bad.any():
            examples = indices[bad].tolist()
            shown = ", ".join(map(str, examples[:8])) + (", ..." if len(examples) > 8 else "")
            return f"the term {name} is NaN or infinite at step {step} for training examples {shown}; {ADVICE}"
    return f"the mean of a term overflowed at step {step}; {ADVICE}"


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C (or SIGTERM) into a question that the loop asks between steps; a second one breaks in."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def note(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
