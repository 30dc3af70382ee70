"""Products of a decoder's Jacobian with itself, for many z at once, without a loop over outputs or examples."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from itertools import product

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from uncollapse.codes import device_of, dtype_of
from uncollapse.distributions import describe
from uncollapse.draw import Model
from uncollapse.errors import BadInput, ShapeError, Unsupported
from uncollapse.metrics.directional import Moves, Read, Values, Way, forward_mode, two_backward_passes

__all__ = ["Read", "Values", "Weigh", "grams", "passes", "placed", "scores", "whole"]

#: Numbers that one pass of the decoder may put out, of which a layer may hold a hundred times as many, and vectors
#: decoded at once, at most: on the CPU and elsewhere.
ELEMENTS, ROWS = (2**19, 2**23), (1024, 16384)
LARGEST = 2**28  #: numbers in the Jacobian of one example: 1 GiB in float32
MANY = 2**12  #: numbers in z from which forward mode pays for what torch loads at its first use, about a second
STEP = 0.05  #: by which z is moved to see whether a decoder without derivatives reacts all the same

#: How to differentiate, what is cheapest first, and how many times fewer vectors at once: the last keeps a graph.
WAYS: dict[Way, int] = {forward_mode: 1, two_backward_passes: 4}

#: Takes values (B, 1 or W, ...) and their changes (B, W, ...) to rows whose squares are summed up, (B, W, ?) each.
Weigh = Callable[[Values, Moves], list[Tensor]]


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


def passes(chunk: int | None, outputs: int, device: torch.device) -> int:
    """Vectors to decode at once, for observations of so many numbers."""
    if chunk is not None:
        return whole("chunk", chunk)
    large = device.type != "cpu"
    return max(1, min(ROWS[large], ELEMENTS[large] // max(outputs, 1)))


def grams(model: Model, z: Tensor, x: Tensor | None, rows: int, read: Read, weigh: Weigh) -> Tensor | None:
    """The matrices J'WJ at every z, (M, D, D) in float64 on the CPU; None where the decoder cannot be differentiated.

    Arguments:
        model: anything with `likelihood`.
        z, x: (M, D) and (M, *X) or None.
        rows: vectors decoded at once.
        read: what to differentiate.
        weigh: turns changes of it into rows whose squares are summed up.
    """
    ways = WAYS if z.numel() >= MANY else (two_backward_passes,)
    for way, kernels in product(ways, (nullcontext, twice_differentiable)):
        try:
            with kernels():
                parts = list(blocks(model, z, x, max(1, rows // WAYS[way]), read, weigh, way))
        except (torch.OutOfMemoryError, Unsupported):
            raise
        except Exception as error:
            # A plain pass has been made before, so the derivative is to blame.
            if way is not two_backward_passes or isinstance(error, RuntimeError | ShapeError):
                continue
            raise
        if any(moved for _, moved in parts) or not reacts(model, z, x, read):
            return torch.cat([matrix for matrix, _ in parts])
        if way is two_backward_passes:
            raise Unsupported(
                "the decoder's output changes with z, but no derivative comes through: look for detach(), no_grad() "
                "or a detour over numpy between z and the likelihood"
            )
    return None


def twice_differentiable() -> AbstractContextManager[object]:
    """Attention and recurrent layers by kernels that have a second derivative."""
    stack = ExitStack()
    stack.enter_context(sdpa_kernel(SDPBackend.MATH))
    stack.enter_context(torch.backends.cudnn.flags(enabled=False))
    return stack


def blocks(
    model: Model, z: Tensor, x: Tensor | None, rows: int, read: Read, weigh: Weigh, way: Way
) -> Iterator[tuple[Tensor, bool]]:
    """J'WJ of one block of examples after another, and whether anything changed there at all."""
    latent = z.shape[1]
    directions = torch.eye(latent, dtype=z.dtype, device=z.device)
    for at in torch.split(torch.arange(len(z), device=z.device), max(1, rows // latent)):
        found, every = [], []
        for ways in torch.split(directions, max(1, rows // len(at))):
            values, moves = way(model, z[at], None if x is None else x[at], ways, read)
            weighed = weigh(values, moves)
            every += [move for move in moves if move is not None]
            found.append(torch.cat(weighed, 2) if weighed else z.new_zeros(len(at), len(ways), 1))
            if found[0].shape[2] * latent > LARGEST:
                raise Unsupported(
                    f"the Jacobian of one example has {latent} x {found[0].shape[2]} numbers, more than {LARGEST}; "
                    "look at a part of the latents or at smaller observations"
                )
        jacobian = torch.cat(found, 1)
        exact = (jacobian.cpu() if jacobian.device.type == "mps" else jacobian).double()
        gram = torch.bmm(exact, exact.mT).cpu()
        yield gram, bool(gram.any()) or any(bool(move.any()) for move in every)


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
