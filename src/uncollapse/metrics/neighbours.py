"""Exact comparisons of distances between two sets, at the price of float32 matrix products."""

from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["Space", "smallest"]

ELEMENTS = 2**20  #: of one block of distances, 4 MiB
SLACK = 3  #: candidates for the k-th neighbour beyond k, because rounding may swap near ties
GROUPS = 64  #: of columns, whose minima tell where the smallest values are


class Space:
    """Points of two sets, and which of them are near each other.

    A product in float32 decides what it can; what lies within its rounding error of the limit is decided by
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
        self.dtype = torch.float32 if torch.get_float32_matmul_precision() == "highest" else torch.float64
        self.points = (x, y)
        norms = tuple(p.square().sum(1, keepdim=True) for p in self.points)
        # |a - b|² is one product: [-2a, 1, |a|²] · [b, |b|², 1].
        self.left = tuple(
            torch.cat([-2 * p, n.new_ones(n.shape), n], 1).to(self.dtype)
            for p, n in zip(self.points, norms, strict=True)
        )
        self.right = tuple(
            torch.cat([p, n, n.new_ones(n.shape)], 1).to(self.dtype) for p, n in zip(self.points, norms, strict=True)
        )
        # Rounding of a sum of F products, of its inputs and of what is added to it, in half units of the last place.
        unit = 0.0 if self.exact else 0.5 * torch.finfo(self.dtype).eps * (x.shape[1] + 8)
        self.doubts = tuple(unit * norm.flatten().to(self.dtype) for norm in norms)

    def blocks(self, a: int, b: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Numbers of rows of set a (0 or 1), and their squared distances (rows, all) to set b, up to rounding.

        The distances lie in a buffer that the next block overwrites.
        """
        n, m = len(self.points[a]), len(self.points[b])
        step = min(n, max(16, ELEMENTS // m))
        left, right = self.left[a], self.right[b].T
        buffer = left.new_empty(step, m)
        for rows in torch.split(torch.arange(n, device=left.device), step):
            square = buffer[: len(rows)]
            with torch.autocast(left.device.type, enabled=False):
                torch.mm(left[rows], right, out=square)
            yield rows, square

    def doubt(self, a: int, b: int, rows: Tensor, limit: Tensor | None = None) -> Tensor:
        """The largest rounding error of squared distances from rows of a to b, and of a limit, (rows,)."""
        error = self.doubts[a][rows] + self.doubts[b].amax()
        if limit is None or self.exact:
            return error
        return error + torch.finfo(self.dtype).eps * limit.amax().to(self.dtype)

    def radii(self, a: int, k: int) -> Tensor:
        """Squared distance from every point of a set to its k-th nearest other point of that set, (N,)."""
        points = self.points[a]
        out = torch.empty(len(points), dtype=points.dtype, device=points.device)
        for rows, square in self.blocks(a, a):
            square.diagonal(int(rows[0])).fill_(-1)  # itself first
            values, columns = smallest(square, min(k + 1 + SLACK, len(points)))
            if self.exact:
                out[rows] = values[:, k].to(out.dtype)
                continue
            out[rows] = self.pairs(a, a, rows, columns[:, k])
            close = (values[:, 1:] - values[:, k, None]).abs_() <= 2 * self.doubt(a, a, rows)[:, None]
            for r in (close.sum(1) > 1).nonzero().flatten().tolist():
                # Where even the last candidate may be the k-th neighbour, others may be too.
                others = torch.arange(len(points), device=rows.device) if close[r, -1] else columns[r]
                others = others[others != rows[r]]
                out[rows[r]] = self.pairs(a, a, rows[r].expand_as(others), others).kthvalue(k).values
        return out

    def compare(self, reals: Tensor, fakes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """How many neighbourhoods hold whom.

        Arguments:
            reals: (N,) squared radii of the points of x.
            fakes: (M,) squared radii of the points of y.

        Returns:
            (M,) the number of points of x that have y_j strictly within their radius, (N,) whether they have
            any, (N,) whether some y_j has x_i within its own radius.
        """
        inside = torch.zeros(len(fakes), dtype=torch.float64, device=fakes.device)
        covered, recalled = torch.zeros_like(reals), torch.zeros_like(reals)
        buffer = None
        for rows, square in self.blocks(0, 1):
            buffer = torch.empty_like(square) if buffer is None else buffer[: len(rows)]
            gap = torch.sub(square, fakes.to(square.dtype), out=buffer)
            least = gap.amin(1)
            recalled[rows] = (least < 0).double()
            close = (least.abs() <= self.doubt(0, 1, rows, fakes)).nonzero().flatten()
            if len(close):  # only here can rounding change the answer
                recalled[rows[close]] = self.within(gap[close], rows[close], fakes[None, :]).amax(1).double()
            near = self.within(square.sub_(reals[rows, None].to(square.dtype)), rows, reals[rows, None])
            covered[rows] = near.amax(1).double()
            inside += near.sum(0)
        return inside, covered, recalled

    def within(self, gap: Tensor, rows: Tensor, limit: Tensor) -> Tensor:
        """1 where a distance from rows of x to y is strictly below its limit, else 0; overwrites `gap`, (rows, M).

        Arguments:
            gap: (rows, M) squared distance less the limit, up to rounding.
            rows: (rows,) numbers of the rows of x.
            limit: (rows, 1) or (1, M), squared, float64.
        """
        doubt = self.doubt(0, 1, rows, limit)
        unsure = (gap.abs().amin(1) <= doubt).nonzero().flatten() if not self.exact else rows[:0]
        r, j = (gap[unsure].abs() <= doubt[unsure, None]).nonzero(as_tuple=True)
        r = unsure[r]
        near = gap.sign_().neg_().relu_()  # floats in place: four times faster than a mask of bits
        near[r, j] = (self.pairs(0, 1, rows[r], j) < limit.expand_as(gap)[r, j]).to(near.dtype)
        return near

    def pairs(self, a: int, b: int, i: Tensor, j: Tensor) -> Tensor:
        """Squared distances of pairs of points, from float64 differences, (P,)."""
        left, right = self.points[a], self.points[b]
        step = max(1, ELEMENTS // left.shape[1])
        parts = zip(torch.split(i, step), torch.split(j, step), strict=True)
        return torch.cat([(left[p] - right[q]).square_().sum(1) for p, q in parts])


def smallest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` smallest values of every row in ascending order, and their columns, (rows, count) each.

    They lie in the `count` groups of columns with the smallest minima: only those are sorted.
    """
    rows, n = values.shape
    depth = n // GROUPS
    if depth < 4 or count > GROUPS // 4:
        found = values.topk(count, largest=False)
        return found.values, found.indices
    lead = values[:, : GROUPS * depth].view(rows, depth, GROUPS).amin(1).topk(count, largest=False).indices
    step = torch.arange(depth, device=values.device) * GROUPS
    rest = torch.arange(GROUPS * depth, n, device=values.device).expand(rows, -1)
    columns = torch.cat([(lead[:, :, None] + step).flatten(1), rest], 1)
    found = values.gather(1, columns).topk(count, largest=False)
    return found.values, columns.gather(1, found.indices)


def whole(x: Tensor) -> bool:
    """Whether squared distances of these points are exact in float32."""
    return bool((x == x.round()).all()) and bool(4 * x.square().sum(1).amax() < 2**24)
