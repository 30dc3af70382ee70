"""Sums of a kernel over all pairs of points, block by block, so that blocks stay in the processor's cache."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from uncollapse.functional import LOG2E
from uncollapse.remedies.naming import CACHED, LAUNCHED

__all__ = ["far", "kernel_sums"]

ROUNDING = 4 * torch.finfo(torch.float32).eps  #: of a squared distance, as a share of the points' own squares


def kernel_sums(
    a: Tensor, b: Tensor | None, width: float | Tensor, scales: Sequence[float] = (1.0,), rbf: bool = True
) -> Tensor:
    r"""Sum of a kernel of the squared distance $r_{ij} = |a_i - b_j|^2$ over j, for every i.

    $\sum_j \sum_s e^{-r_{ij} / hs}$, or $\sum_j \sum_s (1 + r_{ij} / hs)^{-1}$. Where b is a, half of the pairs are
    computed, and a pair with itself counts as the number of scales.

    Arguments:
        a: (N, D), float32 or float64.
        b: (M, D), or None for the pairs within a.
        width: h, without a gradient.
        scales: s.
        rbf: the first kernel; if not, the second.

    Returns:
        (N,).

    Example:
        >>> kernel_sums(torch.zeros(2, 1), torch.zeros(3, 1), width=1.0)
        tensor([3., 3.])
    """
    sums: Tensor = KernelSums.apply(a, b, width, tuple(scales), rbf)  # type: ignore[no-untyped-call]
    return sums


@torch.no_grad()
def far(a: Tensor, b: Tensor, width: float | Tensor, scale: float) -> bool:
    """Whether float32 products of points (N, D) and (M, D) are off by a hundredth of the kernel's reach.

    A compiler cannot ask, nor MPS do better.
    """
    if a.dtype != torch.float32 or torch.compiler.is_compiling() or a.device.type == "mps":
        return False
    size = torch.maximum(a.abs().amax(), b.abs().amax()).square() * a.shape[1]
    return bool(size * ROUNDING > 0.01 * scale * width)


class KernelSums(torch.autograd.Function):
    """Kept are slopes of the kernel, and only where the gradient of both sides is wanted."""

    @staticmethod
    def forward(
        ctx: Any, a: Tensor, b: Tensor | None, width: float | Tensor, scales: tuple[float, ...], rbf: bool
    ) -> Tensor:
        """(N, D) and (M, D) give (N,)."""
        other, within = (a, True) if b is None else (b, False)
        both = ctx.needs_input_grad[1] or (within and ctx.needs_input_grad[0])
        kept = a.new_empty(len(a), len(other)) if both else None
        pull = a.new_empty(len(a), a.shape[1] + 1) if ctx.needs_input_grad[0] and not both else None
        sums, points, (left, right) = a.new_zeros(len(a)), with_ones(other), factors(a, other, width)
        for rows in pieces(a):
            first = rows.start if within else 0
            values, slopes = kernel(block(left[rows], right[:, first:], within), scales, rbf)
            sums[rows] += values.sum(1)
            if within:
                sums[rows.stop :] += values[:, rows.stop - first :].sum(0)
            if kept is not None:
                kept[rows, first:] = slopes
            if pull is not None:
                torch.mm(slopes, points, out=pull[rows])
        ctx.save_for_backward(a, b, kept, pull)
        ctx.factor = -2 / width
        return sums

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        """Points attract each other along their difference."""
        a, b, kept, pull = ctx.saved_tensors
        each, mine, theirs = slope.unsqueeze(1), None, None
        if b is None:
            plain, weighted = within(kept, torch.cat([with_ones(a), each * with_ones(a)], 1)).chunk(2, 1)
            mine = ctx.factor * (each * towards(a, plain) + towards(a, weighted))
        else:
            if ctx.needs_input_grad[0]:
                mine = ctx.factor * each * towards(a, kept @ with_ones(b) if pull is None else pull)
            if ctx.needs_input_grad[1]:
                theirs = ctx.factor * towards(b, kept.T @ (each * with_ones(a)))
        return mine, theirs, None, None, None


def block(left: Tensor, right: Tensor, within: bool) -> Tensor:
    """r / h of some points from others, which start with them if within one set."""
    ratio = (left @ right).clamp_(min=0)
    if within:
        ratio.diagonal().fill_(0)
    return ratio


def kernel(ratio: Tensor, scales: tuple[float, ...], rbf: bool) -> tuple[Tensor, Tensor]:
    """The kernel at r / h, any shape, and minus its slope there."""
    values, slopes = [], []
    for scale in scales:
        # powers of two take less than half the time of those of e
        one = (ratio * (-LOG2E / scale)).exp2_() if rbf else (ratio / scale).add_(1).reciprocal_()
        values.append(one)
        steep = one if rbf else one.square()
        slopes.append(steep if scale == 1 else steep / scale)
    return (values[0], slopes[0]) if len(scales) == 1 else (sum(values[1:], values[0]), sum(slopes[1:], slopes[0]))


def factors(a: Tensor, b: Tensor, width: float | Tensor) -> tuple[Tensor, Tensor]:
    """(N, D + 2) and (D + 2, M), whose product is r / h."""
    shift = b.mean(0)  # the common part would cancel badly
    a, b = a - shift, b - shift
    left = torch.cat([-2 * a, a.square().sum(1, keepdim=True), a.new_ones(len(a), 1)], 1)
    right = torch.cat([b, b.new_ones(len(b), 1), b.square().sum(1, keepdim=True)], 1)
    return left / width, right.T


def within(upper: Tensor, points: Tensor) -> Tensor:
    """The product (N, E) of a symmetric matrix (N, N), known above its diagonal blocks and in them, with points."""
    found = torch.zeros_like(points)
    for rows in pieces(upper):
        found[rows].addmm_(upper[rows, rows.start :], points[rows.start :])
        found[rows.stop :].addmm_(upper[rows, rows.stop :].T, points[rows])
    return found


def towards(points: Tensor, pull: Tensor) -> Tensor:
    """Weighted differences of points (N, D) from others, summed, from sums of others and of weights (N, D + 1)."""
    return pull[:, -1:] * points - pull[:, :-1]


def with_ones(points: Tensor) -> Tensor:
    """(N, D + 1), the last column 1."""
    return torch.cat([points, points.new_ones(len(points), 1)], 1)


def pieces(points: Tensor) -> Iterator[slice]:
    """Consecutive rows, as many as a block has."""
    size = (CACHED if points.device.type == "cpu" else LAUNCHED)[0]
    for start in range(0, len(points), size):
        yield slice(start, min(start + size, len(points)))
