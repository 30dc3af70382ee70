"""Exact comparisons of distances between two sets, at the price of float32 matrix products."""

from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["Space"]

ELEMENTS = 2**19  #: of one block of distances, 2 MiB
SLACK = 8  #: candidates for the k-th neighbour beyond k, because float32 may swap near ties


class Space:
    """Points of two sets, and which of them are near each other.

    A product in float32 decides what it can; pairs within its rounding error of the limit are decided by
    float64 differences, which are the same bits for the same pair of points. Whole numbers small enough to be
    exact in float32 (binary pixels) need no second look.

    Arguments:
        x: (N, F) finite, float64.
        y: (M, F) finite, float64.
    """

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.exact = whole(x) and whole(y)
        if not self.exact:
            centre = x.mean(0)
            x, y = x - centre, y - centre
            size = torch.maximum(x.abs().amax(), y.abs().amax()).clamp(min=torch.finfo(x.dtype).tiny)
            x, y = x / size, y / size
        # Where the user allows reduced products, float32 would not be float32.
        full = self.exact or torch.get_float32_matmul_precision() == "highest"
        self.dtype = torch.float32 if full else torch.float64
        self.points = (x, y)
        self.quick = tuple(p.to(self.dtype) for p in self.points)
        self.norms = tuple(p.square().sum(1).to(self.dtype) for p in self.points)
        unit = 0.0 if self.exact else torch.finfo(self.dtype).eps * (x.shape[1] + 8)
        unit = 0.0 if self.exact else torch.finfo(self.dtype).eps * (x.shape[1] + 8)
        self.doubts = tuple(unit * norm for norm in self.norms)

    def blocks(self, a: int, b: int) -> Iterator[tuple[slice, Tensor]]:
        """Rows of set a (0 or 1), and their squared distances (rows, all) to set b, up to rounding."""
        n, m = len(self.points[a]), len(self.points[b])
        step = max(16, ELEMENTS // m)
        left, right = -2 * self.quick[a], self.quick[b].T
        for start in range(0, n, step):
            rows = slice(start, min(start + step, n))
            with torch.autocast(left.device.type, enabled=False):
                square = torch.addmm(self.norms[b], left[rows], right)
            yield rows, square.add_(self.norms[a][rows, None])

    def radii(self, a: int, k: int) -> Tensor:
        """Squared distance from every point of a set to its k-th nearest other point of that set, (N,)."""
        points = self.points[a]
        out = torch.empty(len(points), dtype=points.dtype, device=points.device)
        for rows, square in self.blocks(a, a):
            square.diagonal(rows.start).fill_(-1)  # itself first
            values, columns = smallest(square, min(k + 1 + (0 if self.exact else SLACK), len(points)))
            if self.exact:
                out[rows] = values[:, k].to(out.dtype)
                continue
            here = torch.arange(rows.start, rows.stop, device=columns.device)
            out[rows] = self.pairs(a, a, here, columns[:, k])
            doubt = 2 * (self.doubts[a][rows] + self.doubts[a].amax())
            steps = values.diff(dim=1)[:, max(k - 1, 1) : k + 1]  # to the neighbours before and after the k-th
            tied = (steps <= doubt[:, None]).any(1).nonzero().flatten()
            if len(tied):
                every = columns[tied, 1:]
                found = self.pairs(a, a, here[tied].repeat_interleave(every.shape[1]), every.flatten())
                out[here[tied]] = found.reshape(every.shape).kthvalue(k, 1).values
        return out

    def pairs(self, a: int, b: int, i: Tensor, j: Tensor) -> Tensor:
        """Squared distances of pairs of points, from float64 differences, (P,)."""
        left, right = self.points[a], self.points[b]
        step = max(1, ELEMENTS // left.shape[1])
        parts = [
            (left[p] - right[q]).square_().sum(1)
            for p, q in zip(torch.split(i, step), torch.split(j, step), strict=True)
        ]
        return torch.cat(parts) if parts else left.new_empty(0)

    def below(self, square: Tensor, rows: slice, limit: Tensor) -> Tensor:
        """Whether distances of rows of x to all of y are strictly below a limit, (rows, M).

        Arguments:
            square: (rows, M) from `blocks(0, 1)`.
            rows: which rows of x they are.
            limit: (rows, 1) or (1, M), squared, float64.
        """
        gap = square - limit.to(square.dtype)
        near = gap < 0
        if self.exact:
            return near
        # The limit was rounded to the working precision too: its share of the doubt is its own size.
        doubt = self.doubts[0][rows] + self.doubts[1].amax() + torch.finfo(gap.dtype).eps * limit.amax().to(gap.dtype)
        unsure = (gap.abs_().amin(1) <= doubt).nonzero().flatten()
        r, j = (gap[unsure] <= doubt[unsure, None]).nonzero(as_tuple=True)
        i = unsure[r]
        near[i, j] = self.pairs(0, 1, i + rows.start, j) < limit.expand_as(near)[i, j]
        return near


def smallest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` smallest values of every row in ascending order, and their columns, (rows, count) each.

    They lie in the `count` groups of columns with the smallest minima: only those are sorted.
    """
    rows, n = values.shape
    groups = 128
    depth = n // groups
    if depth < 4 or count > groups // 4:
        found = values.topk(count, largest=False)
        return found.values, found.indices
    head = values[:, : groups * depth].view(rows, depth, groups)
    lead = head.amin(1).topk(count, largest=False).indices
    step = torch.arange(depth, device=values.device) * groups
    columns = (lead[:, :, None] + step).flatten(1)
    rest = torch.arange(groups * depth, n, device=values.device).expand(rows, -1)
    columns = torch.cat([columns, rest], 1)
    found = values.gather(1, columns).topk(count, largest=False)
    return found.values, columns.gather(1, found.indices)


def whole(x: Tensor) -> bool:
    """Whether squared distances of these points are exact in float32."""
    return bool((x == x.round()).all()) and bool(4 * x.square().sum(1).amax() < 2**24)
