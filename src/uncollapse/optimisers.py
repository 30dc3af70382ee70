"""The optimiser of a run, and its step without the bookkeeping that only a small model notices."""

from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from uncollapse.plan import Settings
from uncollapse.processes.shards import in_pieces

__all__ = ["Stepper", "optimiser"]


def optimiser(parameters: list[nn.Parameter], plan: Settings) -> Optimizer:
    """Adam, AdamW or SGD in their fused forms; weights in pieces are a group of their own, which torch does not mix."""
    kinds = [[p for p in parameters if in_pieces(p) is kind] for kind in (False, True)]
    groups = [{"params": kind} for kind in kinds if kind]
    fused = all(p.device.type in {"cpu", "cuda"} and p.is_floating_point() for p in parameters)
    if plan.optimiser in ("sgd", "plain-sgd"):
        if plan.optimiser == "sgd":  # torch's fused form breaks off where a part has been frozen so far
            return SGD(groups, plan.lr, momentum=0.9, weight_decay=plan.weight_decay)
        return SGD(groups, plan.lr, weight_decay=plan.weight_decay, fused=fused and not kinds[1])
    kind = Adam if plan.optimiser == "adam" else AdamW
    return kind(groups, plan.lr, weight_decay=plan.weight_decay, fused=fused)


class Stepper:
    """The step of an optimiser; for fused Adam by the two operations that torch's own step ends in, on lists made once.

    `Optimizer.step` gathers the state of every parameter anew each time, which takes as long as the arithmetic where
    the model is small. Whenever a parameter has no gradient or no state yet, the optimiser's own step is taken.

    Arguments:
        optimiser: of one parameter group.
    """

    def __init__(self, optimiser: Optimizer) -> None:
        self.optimiser = optimiser
        self.group = optimiser.param_groups[0]
        several = len(optimiser.param_groups) > 1 or in_pieces(self.group["params"][0])
        self.plain = type(optimiser) is not Adam or several or not self.group["fused"]
        self.tables: tuple[list[Any], ...] | None = None

    def gather(self) -> tuple[list[Any], ...] | None:
        """Means, squares and counts of all parameters; None where there are none yet."""
        states = [self.optimiser.state.get(p) for p in self.group["params"]]
        if not all(states):
            return None
        return tuple([state[key] for state in states if state] for key in ("exp_avg", "exp_avg_sq", "step"))

    def __call__(self) -> None:
        """One step."""
        gradients = [p.grad for p in self.group["params"]]
        self.tables = self.tables or (None if self.plain else self.gather())
        if self.tables is None or any(g is None for g in gradients):
            self.optimiser.step()
            return
        group, (means, squares, counts) = self.group, self.tables
        with torch.no_grad():
            torch._foreach_add_(counts, 1)
            torch._fused_adam_(
                group["params"], gradients, means, squares, [], counts, amsgrad=False, lr=group["lr"],
                beta1=group["betas"][0], beta2=group["betas"][1], weight_decay=group["weight_decay"],
                eps=group["eps"], maximize=False,
            )  # fmt: skip
