"""Products of a decoder's Jacobian with itself, for many z at once, without a loop over outputs or examples."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.attention import SDPBackend, sdpa_kernel

from uncollapse.codes import device_of, dtype_of
from uncollapse.distributions import describe
from uncollapse.draw import Model
from uncollapse.errors import BadInput, ShapeError, Unsupported

__all__ = ["Read", "Weigh", "grams", "passes", "placed", "scores", "whole"]

ELEMENTS = 2**17  #: numbers that one pass of the decoder may put out; its layers hold about a thousand times as many
ROWS = 1024  #: vectors decoded at once, at most
LARGEST = 2**28  #: numbers in the Jacobian of one example: 1 GiB in float32
STEP = 0.05  #: by which z is moved to see whether a decoder without derivatives reacts all the same
AGREE = 0.01  #: share of the squared derivative that may differ between two ways of computing it, for half precision

Values = tuple[Tensor, ...]
Moves = tuple[Tensor | None, ...]
Read = Callable[[Distribution, Tensor | None], Values]  #: the quantities of a likelihood to differentiate, (R, ...)
Weigh = Callable[[Values, Moves], list[Tensor]]  #: their changes, weighed, (R, ?) each


def placed(model: Model, z: Tensor, x: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """z and x where the model is and in its type, after a look at their shapes."""
    if not isinstance(z, Tensor) or z.ndim != 2 or z.numel() == 0:
        raise ShapeError(f"z should be (M, D), one row an example, got {describe(z)}")
    if x is not None and (not isinstance(x, Tensor) or len(x) != len(z)):
        raise ShapeError(f"x should hold one input for each of the {len(z)} rows of z, got {describe(x)}")
    device, kind = device_of(model), dtype_of(model)
    return z.detach().to(device, kind), None if x is None else x.detach().to(device)


def whole(name: str, value: int) -> int:
    """The value, if it is a positive whole number."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadInput(f"{name} should be a positive whole number, got {value!r}")
    return value


def passes(chunk: int | None, outputs: int) -> int:
    """Vectors to decode at once, for observations of so many numbers."""
    return max(1, min(ROWS, ELEMENTS // max(outputs, 1))) if chunk is None else whole("chunk", chunk)


def grams(model: Model, z: Tensor, x: Tensor | None, rows: int, read: Read, weigh: Weigh) -> Tensor | None:
    """The matrices J'WJ at every z, (M, D, D) in float64 on the CPU; None where the decoder cannot be differentiated.

    Arguments:
        model: anything with `likelihood`.
        z, x: (M, D) and (M, *X) or None.
        rows: vectors decoded at once.
        read: what to differentiate.
        weigh: turns changes of it into rows whose squares are summed up.
    """
    for kernels in (nullcontext, twice_differentiable):
        try:
            with kernels():
                parts = list(blocks(model, z, x, rows, read, weigh))
        except (torch.OutOfMemoryError, Unsupported):
            raise
        except (RuntimeError, ShapeError):  # a plain pass has been made before, so the derivative is to blame
            continue
        if not any(moved for _, moved in parts) and reacts(model, z, x, read):
            raise Unsupported(
                "the decoder's output changes with z, but no derivative comes through: look for detach(), no_grad() "
                "or a detour over numpy between z and the likelihood"
            )
        return torch.cat([matrix for matrix, _ in parts])
    return None


def twice_differentiable() -> AbstractContextManager[object]:
    """Attention and recurrent layers by kernels that have a second derivative."""
    stack = ExitStack()
    stack.enter_context(sdpa_kernel(SDPBackend.MATH))
    stack.enter_context(torch.backends.cudnn.flags(enabled=False))
    return stack


def blocks(
    model: Model, z: Tensor, x: Tensor | None, rows: int, read: Read, weigh: Weigh
) -> Iterator[tuple[Tensor, bool]]:
    """J'WJ of one block of examples after another, and whether anything changed there at all."""
    latent = z.shape[1]
    directions = torch.eye(latent, dtype=z.dtype, device=z.device)
    for start in range(0, len(z), max(1, rows // latent)):
        at = torch.arange(start, min(start + max(1, rows // latent), len(z)), device=z.device)
        # Every example once for every direction, as one long batch: decoders know nothing of directions.
        every, towards = at.repeat_interleave(latent), directions.repeat(len(at), 1)
        found, moved = [], False
        for part, way in zip(torch.split(every, rows), torch.split(towards, rows), strict=True):
            values, moves = changes(model, z[part], None if x is None else x[part], way, read)
            weighed = weigh(values, moves)
            moved = moved or any(bool(move.any()) for move in moves if move is not None)
            found.append(torch.cat(weighed, 1) if weighed else z.new_zeros(len(part), 1))
            if len(found[0]) and found[0].shape[1] * latent > LARGEST:
                raise Unsupported(
                    f"the Jacobian of one example has {latent} x {found[0].shape[1]} numbers, more than {LARGEST}; "
                    "look at a part of the latents or at smaller observations"
                )
        jacobian = torch.cat(found).reshape(len(at), latent, -1)
        exact = (jacobian.cpu() if jacobian.device.type == "mps" else jacobian).double()
        yield torch.bmm(exact, exact.mT).cpu(), moved


def changes(model: Model, z: Tensor, x: Tensor | None, way: Tensor, read: Read) -> tuple[Values, Moves]:
    """Values of the likelihood at z (R, D) and their derivatives along the directions `way` (R, D).

    The derivative along a direction is had from two backward passes: the product u'J is linear in u, and its
    derivative by u along the direction is J times the direction. It works for whatever can be differentiated twice.
    """
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        values = tuple(value if len(value) == len(z) else value.flatten(0, 1) for value in read(model.likelihood(z), x))
        live = [value for value in values if value.requires_grad]
        free = [torch.randn_like(value).requires_grad_() for value in live]
        pulled = torch.autograd.grad(live, z, free, create_graph=True, allow_unused=True)[0] if live else None
        still = tuple(value.detach() for value in values)
        if pulled is None:
            return still, (None,) * len(values)
        pushed = torch.autograd.grad(pulled, free, way, allow_unused=True)
    check_twice(pulled.detach(), way, free, pushed)
    every = iter(pushed)
    return still, tuple(next(every) if value.requires_grad else None for value in values)


def check_twice(pulled: Tensor, way: Tensor, free: list[Tensor], pushed: Moves) -> None:
    """Raise if (u'J)v and u'(Jv) differ: layers that are differentiable once drop out of the second without a word."""
    pairs = zip(free, pushed, strict=True)
    ours = sum(((u.detach() * move).flatten(1).sum(1) for u, move in pairs if move is not None), way.new_zeros(()))
    theirs = (pulled * way).sum(1)
    known = theirs.isfinite()
    if ((ours - theirs)[known].square().sum() > AGREE * theirs[known].square().sum()).any():
        raise RuntimeError("a part of the decoder is differentiable once only")


def reacts(model: Model, z: Tensor, x: Tensor | None, read: Read) -> bool:
    """Whether a small step of z changes anything, seen without derivatives."""
    some, given = z[:8], None if x is None else x[:8]
    pairs = zip(read(model.likelihood(some), given), read(model.likelihood(some + STEP), given), strict=True)
    return any(not torch.equal(here, there) for here, there in pairs)


def scores(model: Model, z: Tensor, rows: int, samples: int, kind: str) -> Tensor:
    """Mean of score times score over samples x' ~ p(x|z), (M, D, D) in float64 on the CPU.

    Raises:
        Unsupported: when the likelihood cannot be sampled, or its log density has no gradient.
    """
    out = []
    try:
        for at in torch.split(torch.arange(len(z), device=z.device), max(1, rows // samples)):
            every = torch.split(at.repeat_interleave(samples), rows)
            slopes = torch.cat([score(model, z[part]).double().cpu() for part in every])
            slopes = slopes.reshape(len(at), samples, -1)
            out.append(slopes.mT @ slopes / samples)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, AttributeError, ShapeError) as error:
        raise Unsupported(
            f"the local spectrum needs a likelihood of a known family, or one with sample() and a differentiable "
            f"log_prob; a {kind} is neither ({error})"
        ) from error
    return torch.cat(out)


def score(model: Model, z: Tensor) -> Tensor:
    """Gradient by z (R, D) of log p(x'|z), one sample x' for every row."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        px = model.likelihood(z)
        with torch.no_grad():
            seen = px.sample()
        log_px: Tensor = px.log_prob(seen).sum()
        found = torch.autograd.grad(log_px, z, allow_unused=True)[0]
    if found is None:
        raise RuntimeError("its log density does not depend on z by a path that can be differentiated")
    return found.detach()
