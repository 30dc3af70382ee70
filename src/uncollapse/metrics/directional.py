"""Derivatives of what a likelihood holds along every direction of z, by forward mode or by two backward passes."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.func import jvp, vmap

from uncollapse.draw import Model

__all__ = ["Moves", "Read", "Values", "Way", "forward_mode", "two_backward_passes"]

AGREE = 0.01  #: share of the squared derivative that may differ between two ways of computing it, for half precision
CHECKED = 4  #: examples of every block whose derivatives by forward mode are held against a backward pass

Values = tuple[Tensor, ...]
Moves = tuple[Tensor | None, ...]
Read = Callable[[Distribution, Tensor | None], Values]  #: the quantities of a likelihood to differentiate, (R, ...)
Way = Callable[[Model, Tensor, Tensor | None, Tensor, Read], tuple[Values, Moves]]


def forward_mode(model: Model, z: Tensor, x: Tensor | None, ways: Tensor, read: Read) -> tuple[Values, Moves]:
    """Values of the likelihood at z (B, D), (B, 1, ...), and their derivatives along directions (W, D), (B, W, ...).

    The decoder is passed once for the values and once for every direction, and no graph is kept. It works where all
    its parts know forward mode, and what comes out is held against a backward pass at a few examples.

    Raises:
        RuntimeError: when a part does not know it, or the two disagree.
    """

    def values(at: Tensor) -> Values:
        return rows_of(read(model.likelihood(at), x), len(at))

    def along(way: Tensor) -> tuple[Values, Values]:
        here, moves = jvp(values, (z,), (way.expand_as(z),))[:2]
        return here, moves

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*torch.jit.script", DeprecationWarning)  # torch's own business
        here, every = vmap(along, out_dims=(None, 0))(ways)  # type: ignore[arg-type]
    moves = tuple(move.movedim(0, 1) for move in every)
    check_forward(model, z[:CHECKED], None if x is None else x[:CHECKED], ways, read, moves)
    return tuple(value.unsqueeze(1) for value in here), moves


def check_forward(model: Model, z: Tensor, x: Tensor | None, ways: Tensor, read: Read, moves: Values) -> None:
    """Raise if u'(Jv) by forward mode and (u'J)v by a backward pass differ, for a random u."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        values = rows_of(read(model.likelihood(z), x), len(z))
        live = [(value, move[: len(z)]) for value, move in zip(values, moves, strict=True) if value.requires_grad]
        if not live:
            return  # under no_grad() a decoder has no backward pass, but forward mode sees through
        free = [torch.randn_like(value) for value, _ in live]
        pulled = torch.autograd.grad([value for value, _ in live], z, free, allow_unused=True)[0]
    theirs = z.new_zeros(len(z), len(ways)) if pulled is None else pulled @ ways.T
    pairs = zip(free, live, strict=True)
    ours = sum(((u.unsqueeze(1) * move).flatten(2).sum(2) for u, (_, move) in pairs), z.new_zeros(()))
    agree(ours, theirs, "a part of the decoder has another derivative by forward mode than by a backward pass")


def two_backward_passes(model: Model, z: Tensor, x: Tensor | None, ways: Tensor, read: Read) -> tuple[Values, Moves]:
    """The same, (B, W, ...) each, for whatever can be differentiated twice.

    The derivative along a direction is had from two backward passes: the product u'J is linear in u, and its derivative
    by u along the direction is J times the direction. Every example is decoded once for every direction, as one long
    batch, because decoders know nothing of directions.
    """
    count = len(ways)
    every, towards = z.repeat_interleave(count, 0), ways.repeat(len(z), 1)
    seen = None if x is None else x.repeat_interleave(count, 0)
    values, moves = pushed(model, every, seen, towards, read)
    lead = (len(z), count)
    shaped = tuple(value.reshape(*lead, *value.shape[1:]) for value in values)
    return shaped, tuple(None if move is None else move.reshape(*lead, *move.shape[1:]) for move in moves)


def pushed(model: Model, z: Tensor, x: Tensor | None, way: Tensor, read: Read) -> tuple[Values, Moves]:
    """Values of the likelihood at z (R, D) and their derivatives along one direction each (R, D)."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        values = rows_of(read(model.likelihood(z), x), len(z))
        live = [value for value in values if value.requires_grad]
        free = [torch.randn_like(value).requires_grad_() for value in live]
        pulled = torch.autograd.grad(live, z, free, create_graph=True, allow_unused=True)[0] if live else None
        still = tuple(value.detach() for value in values)
        if pulled is None:
            return still, (None,) * len(values)
        found = torch.autograd.grad(pulled, free, way, allow_unused=True)
    pairs = zip(free, found, strict=True)
    ours = sum(((u.detach() * move).flatten(1).sum(1) for u, move in pairs if move is not None), way.new_zeros(()))
    # Layers that are differentiable once drop out of the second pass without a word.
    agree(ours, (pulled.detach() * way).sum(1), "a part of the decoder is differentiable once only")
    every = iter(found)
    return still, tuple(next(every) if value.requires_grad else None for value in values)


def rows_of(values: Values, rows: int) -> Values:
    """Values with one leading dimension."""
    return tuple(value if len(value) == rows else value.flatten(0, 1) for value in values)


def agree(ours: Tensor, theirs: Tensor, otherwise: str) -> None:
    """Raise if two computations of the same numbers differ by more than rounding does."""
    known = theirs.isfinite()
    gap = torch.where(known, ours - theirs, 0.0).square().sum()
    if bool(gap > AGREE * torch.where(known, theirs, 0.0).square().sum()):
        raise RuntimeError(otherwise)
