r"""Rows to and fro between processes, with gradients.

The loop runs the same on every process, with the whole batch; only what costs much, the passes of networks, is done
row by row: `mine` takes the rows of this process, the network passes them, `whole` puts all rows together again. What
stands before and after is replicated, so its gradients are the same everywhere and need no exchange. Weights are
replicated too, and the gradients that the processes arrive at are averaged after the backward pass, which is right for
replicated work; a process that has passed its own rows alone therefore scales its gradients by R in between.

| | forward | backward |
|---|---|---|
| `mine` | $x \to x_r$ | $g_r \to \frac1R (g_1, ..., g_R)$ |
| `whole` | $y_r \to (y_1, ..., y_R)$ | $g \to R\,g_r$ |
| `shared` | $c \to c$ | $g_r \to \frac1R \sum_r g_r$ |
| `total` | $s_r \to \sum_r s_r$ | $g_r \to \sum_r g_r$ |

All of them can be differentiated twice.
"""

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor

from uncollapse.processes.group import Group

__all__ = ["gathered", "mine", "shared", "total", "whole"]

HALVES = {torch.float16: torch.int16, torch.bfloat16: torch.int16, torch.bool: torch.uint8}  #: sent as what gloo knows


def gathered(own: Tensor, spans: list[int], group: Group) -> Tensor:
    """The rows of all processes, (sum of spans, ...), without gradient; each has as many as `spans` says."""
    plain = own.detach().contiguous()
    sent = plain.view(HALVES[plain.dtype]) if plain.dtype in HALVES else plain
    room = max(spans)
    if len(sent) < room:
        sent = torch.cat([sent, sent.new_zeros(room - len(sent), *sent.shape[1:])])
    pieces = [torch.empty_like(sent) for _ in spans]
    dist.all_gather(pieces, sent, group=group.group)
    rows = torch.cat([piece[:count] for piece, count in zip(pieces, spans, strict=True)])
    return rows.view(plain.dtype) if plain.dtype in HALVES else rows


class Mine(torch.autograd.Function):
    """Some rows; the gradients of all of them come together."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group) -> Tensor:
        """x (N, ...) to (N_r, ...)."""
        ctx.group, ctx.count = group, len(x)
        return x[group.rows(len(x))].clone()

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        """All rows, divided by R."""
        return cast(Tensor, Whole.apply(slope, ctx.group, ctx.count)) / ctx.group.size, None  # type: ignore[no-untyped-call]


class Whole(torch.autograd.Function):
    """All rows; every process keeps the gradient of its own."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, group: Group, count: int) -> Tensor:
        """(N_r, ...) to (N, ...)."""
        ctx.group = group
        return gathered(own, group.spans(count), group)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        """Own rows, times R."""
        return cast(Tensor, Mine.apply(slope, ctx.group)) * ctx.group.size, None, None  # type: ignore[no-untyped-call]


class Shared(torch.autograd.Function):
    """The same values; their gradients from all processes come together."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group) -> Tensor:
        """x."""
        ctx.group = group
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        """Mean over processes."""
        return cast(Tensor, Total.apply(slope, ctx.group)) / ctx.group.size, None  # type: ignore[no-untyped-call]


class Total(torch.autograd.Function):
    """The sum of what the processes have, and of its gradients."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, group: Group) -> Tensor:
        """Sum over processes."""
        ctx.group = group
        return group.add(own.detach().clone(memory_format=torch.contiguous_format))

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        """Sum over processes."""
        return cast(Tensor, Total.apply(slope, ctx.group)), None  # type: ignore[no-untyped-call]


def mine(x: Tensor, group: Group) -> Tensor:
    """The rows of x (N, ...) that this process works on, (N_r, ...)."""
    if not x.requires_grad:
        return x[group.rows(len(x))]
    return cast(Tensor, Mine.apply(x, group))  # type: ignore[no-untyped-call]


def whole(own: Tensor, group: Group, count: int) -> Tensor:
    """All N = `count` rows from what each process made of its own."""
    return cast(Tensor, Whole.apply(own, group, count))  # type: ignore[no-untyped-call]


def shared(x: Tensor, group: Group) -> Tensor:
    """A replicated x, for work that each process does on its own rows."""
    return cast(Tensor, Shared.apply(x, group))  # type: ignore[no-untyped-call]


def total(own: Tensor, group: Group) -> Tensor:
    """The sum over processes of what each made of its own rows, for work on own rows."""
    return cast(Tensor, Total.apply(own, group))  # type: ignore[no-untyped-call]
