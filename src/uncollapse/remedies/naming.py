r"""Cross-entropy of naming one's own candidate among K, where the scores are a matrix product: block by block.

Setting: scores $s = L R$ of queries L (B, F) and candidates R (F, K); the candidate of query i is column i. Blocks of
scores that fit into the processor's cache are made and used up; what is summed over candidates is carried on from block
to block relative to the largest score so far. Several processes share the queries; each meets all candidates.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from uncollapse.errors import ShapeError
from uncollapse.functional import LOG2E, NOTHING
from uncollapse.processes import can_share, mine, shared, whole

__all__ = ["naming"]

BITS = NOTHING * LOG2E  #: below the best candidate at which a share counts as 0, for subnormal numbers take long
CACHED = (128, 1024)  #: queries and candidates of a block on a processor
LAUNCHED = (8192, 8192)  #: elsewhere, where every block is a dozen of launches


def naming(
    left: Tensor, right: Tensor, more: Tensor | None = None, out: torch.dtype = torch.float32, among: bool = True
) -> Tensor:
    r"""Cross-entropy of naming the own partner among K candidates (InfoNCE), for scores that are a matrix product.

    $\mathrm{CE}_i = \log \sum_j e^{s_{ij} - s_{ii}}$, $s = L R$. The product runs in the type of its factors, the rest
    in the type `out`. The gradient of R is summed in the type of the factors, that of L in `out`. Without a gradient
    of R nothing of the size B x K is kept, and with one a single matrix.

    Arguments:
        left: (B, F), queries; their last column is 1 and has no gradient.
        right: (F, K), candidates, K >= B; the first B are the partners of the queries.
        more: (F, Q), further candidates without a gradient.
        out: type of the losses.
        among: whether the candidates in `right` count beside the own one; if not, only those in `more` do.

    Returns:
        (B,) nats, at least 0.

    Raises:
        ShapeError: when the factors do not fit, or there are fewer candidates than queries.

    References:
        van den Oord, Li, Vinyals, 2018, https://arxiv.org/abs/1807.03748, eq. 4;
        Milakov, Gimelshein, 2018, https://arxiv.org/abs/1805.02867 (sums carried on);
        Dao et al., 2022, https://arxiv.org/abs/2205.14135 (blocks in fast memory).

    Example:
        >>> naming(torch.zeros(2, 1), torch.zeros(1, 4))
        tensor([1.3863, 1.3863])
    """
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != len(right) or len(left) > right.shape[1]:
        raise ShapeError(
            f"naming expects left (B, F) and right (F, K) with K >= B, got {tuple(left.shape)} and {tuple(right.shape)}"
        )
    group = can_share(left)
    with torch.autocast(left.device.type, enabled=False):
        if group is None:
            losses: Tensor = Naming.apply(left, right, more, out, among)  # type: ignore[no-untyped-call]
            return losses
        own, first = mine(left, group), own_first(shared(right, group), group.rows(len(left)))
        losses = Naming.apply(own, first, more, out, among)  # type: ignore[no-untyped-call]
        return whole(losses, group, len(left))


def own_first(right: Tensor, rows: slice) -> Tensor:
    """The candidates (F, K) with the partners of some queries in front."""
    return torch.cat([right[:, rows], right[:, : rows.start], right[:, rows.stop :]], 1)


class Sums(NamedTuple):
    """What is carried on, relative to the largest score so far, in bits: the own candidate is left out of both sums.

    Where it is nearly the only one, the rest is then exact, and so are the loss and its gradient.
    """

    top: Tensor  #: (B, 1), the largest score, bits
    others: Tensor  #: (B, 1), sum of powers of two
    pull: Tensor | None  #: (B, F), sum of candidates weighted by them; None where L has no gradient

    def part(self, rows: slice) -> "Sums":
        """The same for some queries, as views."""
        return Sums(self.top[rows], self.others[rows], None if self.pull is None else self.pull[rows])

    def take(self, scores: Tensor, candidates: Tensor) -> None:
        """Add a block of scores (B, M) of candidates (F, M); the scores become powers of two."""
        top = torch.maximum(self.top, scores.amax(1, keepdim=True))
        fade = (self.top - top).exp2()
        torch.threshold_(scores.sub_(top), -BITS, -torch.inf).exp2_()
        self.others.mul_(fade).add_(scores.sum(1, keepdim=True))
        if self.pull is not None:
            self.pull.mul_(fade).addmm_(scores, candidates[:-1].T)
        self.top.copy_(top)


class Naming(torch.autograd.Function):
    """Powers of two are kept for the gradient of R alone: that of L is made on the way, but for a factor a row."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, more: Tensor | None, out: torch.dtype, among: bool) -> Tensor:
        """(B, F) and (F, K) give (B,) losses."""
        bits = left * LOG2E
        own = (bits * right[:, : len(left)].T).sum(1, keepdim=True).to(out)
        pull = torch.zeros_like(left[:, :-1], dtype=out) if ctx.needs_input_grad[0] else None
        sums = Sums(own.clone(), torch.zeros_like(own), pull)
        kept = own.new_empty(len(left), right.shape[1] if among else 0) if ctx.needs_input_grad[1] else None
        tops = [own[:, :0]]
        for columns in tiles(right, 1) if among else ():
            gather(sums, bits, right, columns, kept)
            tops.append(sums.top.clone())
        if more is not None:
            for columns in tiles(more, 1):
                gather(sums, bits, more, columns, None, partners=False)
        ctx.save_for_backward(left, right, kept, own, sums.top, sums.others, sums.pull, torch.cat(tops, 1))
        return torch.logaddexp2(sums.others.log2() + sums.top - own, torch.zeros_like(own)).squeeze(1) / LOG2E

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        """Each other candidate pulls by its share, the own one back by the sum of them."""
        left, right, kept, own, top, others, pull, tops = ctx.saved_tensors
        each = slope.unsqueeze(1) / (others + (own - top).exp2())
        back = each * others
        mine = theirs = None
        if pull is not None:
            mine = F.pad(each * pull - back * right[:-1, : len(left)].T.to(pull.dtype), (0, 1)).to(left.dtype)
        if kept is not None:
            theirs = torch.zeros_like(right)
            theirs[:, : kept.shape[1]] = spread(left * each, kept, (tops - top).exp2())
            theirs[:, : len(left)] -= (left * back).T
        return mine, theirs, None, None, None


def spread(left: Tensor, kept: Tensor, fade: Tensor) -> Tensor:
    """The queries (B, F) summed by powers of two (B, K), (F, K); these fade by a factor for each tile of candidates."""
    found = left.new_zeros(left.shape[1], kept.shape[1])  # in rows: products into columns take twice as long
    for number, columns in enumerate(tiles(found, 1)):
        weights = left * fade[:, number : number + 1]
        for rows in tiles(left, 0):
            found[:, columns].addmm_(weights[rows].T, kept[rows, columns].to(left.dtype))
    return found


def gather(sums: Sums, left: Tensor, right: Tensor, columns: slice, kept: Tensor | None, partners: bool = True) -> None:
    """Take the scores of some candidates in, block by block; powers of two go to `kept`, partners are left out."""
    candidates = right[:, columns]
    rounded = candidates.to(sums.top.dtype)
    made = left.new_empty(min(len(left), sides(left)[0]), candidates.shape[1])
    block = torch.empty_like(made, dtype=rounded.dtype)
    for rows in tiles(left, 0):
        queries = left[rows]
        scores = block[: len(queries)] if kept is None else kept[rows, columns]
        scores.copy_(torch.mm(queries, candidates, out=made[: len(queries)]))
        if partners:
            scores.diagonal(rows.start - columns.start).fill_(-torch.inf)
        sums.part(rows).take(scores, rounded)


def sides(factor: Tensor) -> tuple[int, int]:
    """Queries and candidates of a block."""
    return CACHED if factor.device.type == "cpu" else LAUNCHED


def tiles(factor: Tensor, side: int) -> Iterator[slice]:
    """Consecutive pieces of the queries (side 0) or the candidates (side 1)."""
    count, size = factor.shape[side], sides(factor)[side]
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
