"""Exact comparisons of distances between two sets, at the price of float32 matrix products."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from uncollapse.metrics.parallel import each_piece
from uncollapse.metrics.ratios import spans

__all__ = ["Space", "smallest"]

ELEMENTS = 2**20  #: of one block of distances, 4 MiB
PIECES = 16  #: parts of a set, at most
LEAST = 2**18  #: distances of a part, at least
LARGE = 2**30  #: numbers beside whole ones up to which nothing overflows
SLACK = 3  #: candidates for the k-th neighbour beyond k, because rounding may swap near ties


class Factors(NamedTuple):
    """Points (N, F) as factors of products that are squared distances: |a - b|² = [-2a, 1, |a|²] · [b, |b|², 1]."""

    left: Tensor
    right: Tensor
    norms: Tensor


class Space:
    """Points of two sets, and which of them are near each other.

    A product in float32 decides what it can; what lies within its rounding error of the limit is decided by
    float64 differences, which are the same bits for the same pair of points. Whole numbers small enough to be
    exact in float32 (binary pixels) need no second look, also where only one set is of them.

    Arguments:
        x: (N, F) finite, float64.
        y: (M, F) finite, float64.
    """

    def __init__(self, x: Tensor, y: Tensor) -> None:
        # Where the user allows reduced products, float32 would not be float32.
        self.dtype = torch.float32 if torch.get_float32_matmul_precision() == "highest" else torch.float64
        largest = float(torch.maximum(x.abs().amax(), y.abs().amax()))
        self.whole = tuple(largest <= LARGE and whole(points) for points in (x, y))
        size = 1.0 if any(self.whole) else 2.0 ** math.frexp(largest)[1]
        # The same bits as before but for the exponent, row by row: sums over rows that lie otherwise round otherwise.
        self.points = tuple((points / size).contiguous() for points in (x, y))
        self.exact = all(self.whole)
        centre = torch.zeros_like(self.points[0][0]) if self.exact else self.points[0].mean(0)
        self.factors = tuple(factors(points - centre, self.dtype) for points in self.points)
        self.unit = 0.0 if self.exact else rounding(self.dtype, x.shape[1])

    def blocks(self, a: Factors, b: Factors, first: int, last: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Numbers of rows of a from `first` to `last`, and their squared distances (rows, all) to b, up to rounding.

        The distances lie in a buffer that the next block overwrites.
        """
        m = len(b.right)
        most = max(16, ELEMENTS // m)
        step = -(-(last - first) // -(-(last - first) // most))  # even ones: a product of a few rows is slow
        buffer = a.left.new_empty(step, m)
        for start, stop in spans(last - first, step):
            rows = torch.arange(first + start, first + stop, device=buffer.device)
            square = buffer[: stop - start]
            with torch.autocast(buffer.device.type, enabled=False):
                torch.mm(a.left[first + start : first + stop], b.right.T, out=square)
            yield rows, square

    def doubt(self, a: int, b: int, rows: Tensor, limit: Tensor | None = None) -> Tensor:
        """The largest rounding error of squared distances from rows of a to b, and of a limit, (rows,)."""
        error = self.unit * (self.factors[a].norms[rows] + self.factors[b].norms.amax())
        if limit is None or self.exact:
            return error
        return error + torch.finfo(self.dtype).eps * limit.amax().to(self.dtype)

    def radii(self, a: int, k: int) -> Tensor:
        """Squared distance from every point of a set to its k-th nearest other point of that set, (N,)."""
        own = self.factors[a]
        if self.whole[a] and not self.exact:
            own = factors(self.points[a], self.dtype)  # not shifted, so that its ties stay ties
        out = torch.empty(len(own.left), dtype=torch.float64, device=own.left.device)

        doubtful: list[tuple[Tensor, ...]] = []

        def piece(span: tuple[int, int]) -> None:
            for rows, square in self.blocks(own, own, *span):
                square.diagonal(int(rows[0])).fill_(-torch.inf)  # itself first
                values, columns = smallest(square, min(k + 1 + SLACK, len(out)))
                if self.whole[a]:
                    out[rows] = values[:, k].double()
                else:
                    out[rows] = self.pairs(a, a, rows, columns[:, k])
                    doubtful.append(self.unsure(a, k, rows, square, values, columns, out))

        each_piece(piece, parts_of(len(out), len(out)))
        if doubtful:
            rows, values, edges, columns = (torch.cat(parts) for parts in zip(*doubtful, strict=True))
            out[rows] = self.among(a, k, rows, values, edges, columns)
        return out

    def unsure(
        self, a: int, k: int, rows: Tensor, square: Tensor, values: Tensor, columns: Tensor, out: Tensor
    ) -> tuple[Tensor, ...]:
        """Rows of a block whose k-th neighbour float32 cannot tell: their numbers, and what `among` needs besides.

        Where even the last candidate may be the k-th, others may be too: these rows are settled here and now.
        """
        reach = 2 * self.doubt(a, a, rows)
        edges = torch.stack([values[:, k] - reach, values[:, k] + reach], 1)
        near = (values[:, 1:] >= edges[:, :1]) & (values[:, 1:] <= edges[:, 1:])
        several = near.sum(1) > 1
        full = (several & near[:, -1]).nonzero().squeeze(1)
        if len(full):
            out[rows[full]] = self.among(a, k, rows[full], square[full], edges[full], None)
        some = (several & ~near[:, -1]).nonzero().squeeze(1)
        return rows[some], values[some, 1:], edges[some], columns[some, 1:]

    def among(self, a: int, k: int, rows: Tensor, table: Tensor, edges: Tensor, names: Tensor | None) -> Tensor:
        """The k-th smallest distances where float32 cannot tell, (S,).

        Arguments:
            a: the set.
            k: which neighbour.
            rows: (S,), of the set.
            table: (S, C), squared distances up to rounding.
            edges: (S, 2), between which the k-th may lie; below are surely nearer ones.
            names: (S, C), whom the distances lead to; if None, to all points and the own one at -inf.
        """
        below = (table < edges[:, :1]).sum(1) - int(names is None)
        r, c = ((table >= edges[:, :1]) & (table <= edges[:, 1:])).nonzero(as_tuple=True)
        distance = self.pairs(a, a, rows[r], c if names is None else names[r, c])
        order = distance.argsort()
        order = order[r[order].argsort(stable=True)]  # by row, and then by distance
        counts = r.bincount(minlength=len(rows))
        return distance[order[counts.cumsum(0) - counts + k - 1 - below]]

    def compare(self, reals: Tensor, fakes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """How many neighbourhoods hold whom.

        Arguments:
            reals: (N,) squared radii of the points of x.
            fakes: (M,) squared radii of the points of y.

        Returns:
            (M,) the number of points of x that have y_j strictly within their radius, (N,) whether they have
            any, (N,) whether some y_j has x_i within its own radius.
        """
        covered, recalled = torch.zeros_like(reals), torch.zeros_like(reals)

        def piece(span: tuple[int, int]) -> Tensor:
            inside, buffer = torch.zeros_like(fakes), None
            for rows, square in self.blocks(self.factors[0], self.factors[1], *span):
                buffer = torch.empty_like(square) if buffer is None else buffer[: len(rows)]
                gap = torch.sub(square, fakes.to(square.dtype), out=buffer)
                recalled[rows] = self.reached(gap, rows, fakes)
                near = self.within(square.sub_(reals[rows, None].to(square.dtype)), rows, reals[rows, None], buffer)
                covered[rows] = near.amax(1).double()
                inside += near.sum(0)
            return inside

        parts = each_piece(piece, parts_of(len(reals), len(fakes)))
        return torch.stack(parts).sum(0), covered, recalled

    def reached(self, gap: Tensor, rows: Tensor, limit: Tensor) -> Tensor:
        """1 where the smallest of a row of squared distances less limits (M,) is strictly below 0, else 0, (rows,)."""
        least = gap.amin(1)
        found = (least < 0).double()
        close = (least.abs() <= self.doubt(0, 1, rows, limit)).nonzero().squeeze(1)
        if len(close) and not self.exact:  # only here can rounding change the answer
            found[close] = self.within(gap[close], rows[close], limit[None, :], None).amax(1).double()
        return found

    def within(self, gap: Tensor, rows: Tensor, limit: Tensor, spare: Tensor | None) -> Tensor:
        """1 where a distance from rows of x to y is strictly below its limit, else 0; overwrites `gap`, (rows, M).

        Arguments:
            gap: (rows, M) squared distance less the limit, up to rounding.
            rows: (rows,) numbers of the rows of x.
            limit: (rows, 1) or (1, M), squared, float64.
            spare: of the same shape, overwritten too.
        """
        doubt = self.doubt(0, 1, rows, limit)
        unsure = rows[:0]
        if not self.exact:
            unsure = (torch.abs(gap, out=spare).amin(1) <= doubt).nonzero().squeeze(1)
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


def factors(points: Tensor, dtype: torch.dtype) -> Factors:
    """The factors of a set of points (N, F)."""
    norms = points.square().sum(1, keepdim=True)
    one = torch.ones_like(norms)
    left = torch.cat([-2 * points, one, norms], 1).to(dtype)
    return Factors(left, torch.cat([points, norms, one], 1).to(dtype), norms.squeeze(1).to(dtype))


def parts_of(n: int, m: int) -> Iterator[tuple[int, int]]:
    """Starts and ends of parts of n rows of m distances, each the work of one thread; few where they are small."""
    return spans(n, max(-(-n // PIECES), LEAST // m, 1))


def rounding(dtype: torch.dtype, features: int) -> float:
    """Relative error of a sum of F products, of its inputs and of what is added to it, in units of the norms."""
    return 0.5 * torch.finfo(dtype).eps * (features + 8)


def smallest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` smallest values of every row in ascending order, and their columns, (rows, count) each.

    They lie in the `count` groups of columns with the smallest minima: only those are sorted.
    """
    rows, n = values.shape
    groups = 2 ** round(math.log2(n) / 2)
    depth = n // groups
    if depth < 4 or 2 * count > groups:
        found = values.topk(count, largest=False)
        return found.values, found.indices
    least = values[:, : groups * depth].view(rows, depth, groups).amin(1)
    lead = least.topk(count, largest=False, sorted=False).indices
    step = torch.arange(depth, device=values.device) * groups
    rest = torch.arange(groups * depth, n, device=values.device).expand(rows, -1)
    columns = torch.cat([(lead[:, :, None] + step).flatten(1), rest], 1)
    found = values.gather(1, columns).topk(count, largest=False)
    return found.values, columns.gather(1, found.indices)


def whole(x: Tensor) -> bool:
    """Whether squared distances of these points are exact in float32."""
    return bool((x == x.round()).all()) and bool(4 * x.square().sum(1).amax() < 2**24)
