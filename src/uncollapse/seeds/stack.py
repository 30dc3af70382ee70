"""Training steps of several runs at once: their weights stacked, one pass, one optimiser."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from uncollapse.errors import NonFinite, Unsupported
from uncollapse.optimisers import Stepper, optimiser
from uncollapse.plan import derive
from uncollapse.seeds.layers import Weights
from uncollapse.seeds.together import Together, check_objectives, terms_of

__all__ = ["Stack", "check"]


class Stack:
    """Runs (`uncollapse.fit.Loop`) that stand at the same step with the same learning rate.

    While it holds them, the parameters of their models and the state of their optimisers are views of the stacked
    ones; `close` gives them memory of their own again.
    """

    def __init__(self, loops: Sequence[Any]) -> None:
        self.loops, lead = list(loops), loops[0]
        self.device, self.plan = lead.engine.device, lead.plan
        self.weights = Weights()
        self.together = Together([loop.model for loop in loops], self.weights)
        self.objectives = [loop.objective for loop in loops]
        self.mine = [[p for p in one.parameters() if p.requires_grad] for one in self.objectives]
        self.leaves = [one.leaf for one in self.weights.held if one.leaf.requires_grad]
        self.all = [*self.leaves, *(p for members in self.mine for p in members)]
        self.optimiser = optimiser(self.all, self.plan)
        for group in self.optimiser.param_groups:
            group["lr"] = lead.engine.lr
        self.adopt()
        self.advance = Stepper(self.optimiser)
        self.weights.share()
        self.noise = torch.empty(len(loops), self.plan.samples, self.plan.batch_size, lead.model.latent)
        self.noise = self.noise.to(self.device)
        self.bad = torch.zeros((), dtype=torch.bool, device=self.device)

    def adopt(self) -> None:
        """Take over the state of the separate optimisers, where there is any."""
        self.shared = False
        for one in self.weights.held:
            found = [loop.engine.optimiser.state.get(p) for loop, p in zip(self.loops, one.members, strict=True)]
            states = [state for state in found if state]
            if len(states) == len(one.members):
                self.optimiser.state[one.leaf] = {
                    key: one.whole([state[key] for state in states]) if like(value, one.members[0]) else value.clone()
                    for key, value in states[0].items()
                    if value is not None
                }
        for loop, members in zip(self.loops, self.mine, strict=True):
            for p in members:
                if loop.engine.optimiser.state.get(p):
                    self.optimiser.state[p] = loop.engine.optimiser.state[p]

    def share(self, own: bool = False) -> None:
        """Show every run its part of the optimiser's state, as a view or, with `own`, as a copy."""
        self.shared = True
        for one in self.weights.held:
            parts = [dict[str, Any]() for _ in self.loops]
            for key, value in self.optimiser.state.get(one.leaf, {}).items():
                values = one.slices(value) if like(value, one.leaf) else [value] * len(parts)
                for state, mine in zip(parts, values, strict=True):
                    state[key] = mine.clone(memory_format=torch.contiguous_format) if own and mine is not None else mine
            for loop, p, state in zip(self.loops, one.members, parts, strict=True):
                if state:  # frozen parameters have none, and an optimiser has no place for it
                    loop.engine.optimiser.state[p] = state
        for loop, members in zip(self.loops, self.mine, strict=True):
            for p in members:
                if self.optimiser.state.get(p):
                    loop.engine.optimiser.state[p] = self.optimiser.state[p]

    def close(self) -> None:
        """Let the runs go; each takes up its state as if it was resumed."""
        self.share(own=True)
        self.weights.part()
        for loop in self.loops:
            loop.engine.restore(loop.engine.state(), loop.engine.lr)

    def one_step(self) -> None:
        """The step of every run: data and noise of its own, one pass, one optimiser step."""
        step = self.loops[0].step
        indices, x = self.batch(step)
        terms = terms_of(self.objectives, self.together.draw(x, self.noise))
        means = torch.stack([term.mean(1) for term in terms.values()], 1)
        self.guard(means, terms, indices, step)
        for p in self.all:  # zero_grad of the optimiser takes ten times as long
            p.grad = None
        means.sum().backward()  # type: ignore[no-untyped-call]
        if self.plan.clip is not None:
            self.cut(self.plan.clip)
        self.advance()
        if not self.shared:
            self.share()
        names = list(terms)
        for loop, mean in zip(self.loops, means.detach(), strict=True):
            loop.objective.after_step(loop.model)
            loop.step += 1
            loop.tally(names, mean)

    def batch(self, step: int) -> tuple[list[Tensor], Tensor]:
        """Indices and examples (S, B, *X) of every run; its noise is drawn after its data, as in a separate run."""
        found, examples = [loop.order.indices(step) for loop in self.loops], []
        part = self.loops[0].train
        for loop, indices, noise in zip(self.loops, found, self.noise, strict=True):
            loop.engine.seed(derive(loop.plan.seed, "noise", step))
            if part.binarise == "dynamic":
                examples.append(part.take(indices, self.device))
            noise.normal_()
        if examples:
            return found, torch.stack(examples)
        return found, torch.unflatten(part.take(torch.cat(found), self.device), 0, (len(found), -1))

    def guard(self, means: Tensor, terms: dict[str, Tensor], indices: list[Tensor], step: int) -> None:
        """Stop at a non-finite loss; an accelerator is asked every `log_every` steps, because it would have to wait."""
        if self.device.type != "cpu":
            self.bad |= ~means.isfinite().all()
            if step % self.plan.log_every == 0 and bool(self.bad):
                raise NonFinite(
                    f"a term of one of the seeds became NaN or infinite by step {step}; run them one by one"
                )
        elif not all(map(math.isfinite, means.flatten().tolist())):
            for place, loop in enumerate(self.loops):
                try:
                    theirs = {name: term[place] for name, term in terms.items()}
                    loop.engine.guard(means[place], theirs, indices[place], step)
                except NonFinite as error:
                    raise NonFinite(f"seed {loop.plan.seed}: {error}; {loop.rescued()}") from None

    def cut(self, most: float) -> None:
        """Clip the gradient of every run by its own norm."""
        leaves = [leaf.grad for leaf in self.leaves if leaf.grad is not None]
        squares = torch.stack([grad.flatten(1).square().sum(1) for grad in leaves]).sum(0)
        for place, members in enumerate(self.mine):
            for p in members:
                if p.grad is not None:
                    squares[place] += p.grad.square().sum()
        factors = (most / (squares.sqrt() + 1e-6)).clamp(max=1)
        for grad in leaves:
            grad.mul_(factors.view(-1, *[1] * (grad.ndim - 1)))
        for factor, members in zip(factors, self.mine, strict=True):
            for p in members:
                if p.grad is not None:
                    p.grad.mul_(factor)


def like(value: Any, parameter: nn.Parameter) -> bool:
    """Whether a number of the optimiser's state is one for every weight."""
    return isinstance(value, Tensor) and value.shape == parameter.shape and value.ndim > 0


@torch.no_grad()
def check(models: Sequence[Any], objectives: Sequence[Any], x: Tensor) -> None:
    """Refuse runs that cannot be stacked, and stacked networks that do not give what the separate ones give.

    Arguments:
        models, objectives: one a seed.
        x: some examples (B, *X), where the models are.

    Raises:
        Unsupported: with the reason.
    """
    check_objectives(objectives)
    together = Together(models, Weights())
    raw = together.encode(torch.stack([x] * len(models)))
    codes = torch.stack([x.new_ones(len(x), models[0].latent)] * len(models))
    seen = together.decode(codes)
    for place, one in enumerate(models):
        pairs = (raw[place], one.encoder(x)), (seen[place], one.decoder(codes[place]))
        if not all(a.shape == b.shape and torch.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in pairs):
            raise Unsupported("the stacked networks do not give what the separate ones give")
