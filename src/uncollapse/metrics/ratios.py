"""Log ratios of every sample's own posterior to all posteriors, by blocks: what estimates of the information are of."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from uncollapse.codes import Codes
from uncollapse.errors import BadInput
from uncollapse.functional import LOG_2PI
from uncollapse.metrics.parallel import each_piece

__all__ = ["FAR", "FLOOR", "SIDE", "log_ratios", "query_order", "query_rows", "ratios_of", "spans"]

FAR = 700.0  #: nats; beyond, exp overflows
SIDE = 512  #: of one block of the matrix of log densities: 1 MiB in float32, which stays in the cache
DOUBLE = 2048  #: posteriors up to which everything is in float64, where it takes milliseconds
PANEL = 16 * SIDE  #: samples that share one pass over the posteriors
SLABS = 16  #: parts of the posteriors, each the work of one thread; fixed, so that sums do not depend on the threads
DIGITS = {torch.float32: 6e-8, torch.float64: 1e-16}  #: relative error of a product, for the sum of its absolute terms
TRUST = 5e-5  #: nats of such an error up to which float32 is believed
LOOSE = 1e-4  #: the same for float64
LARGE = 1e36  #: sum of absolute terms beyond which float32 might overflow
FLOOR = 100.0  #: nats below the own density where one is cut off: a processor takes 30 times as long over exp(-700)
FLOOR_32 = 80.0  #: the same in float32, where exp(-90) is no normal number
NEVER = 32.0  #: nats below a sample's own density at which another posterior adds nothing: e^-32 of the sum at most
FEW = 1 / 64  #: share of pairs up to which differences are cheaper than a product in float64
ELEMENTS = 2**18  #: numbers that densities by differences hold at once


def query_order(n: int, queries: int | None, shuffled: bool = False) -> Tensor:
    """The examples at which log ratios are evaluated, (Q,): all, or the first Q in a random order that stays.

    `shuffled` puts all of them into that order too.
    """
    if queries is not None and (isinstance(queries, bool) or not isinstance(queries, int) or queries < 2):
        raise BadInput(f"queries should be a whole number of at least 2 examples, got {queries!r}")
    if not shuffled and (queries is None or queries >= n):
        return torch.arange(n)
    return torch.randperm(n, generator=torch.Generator().manual_seed(0))[:queries]


def query_rows(n: int, queries: int | None) -> Tensor:
    """The same examples in ascending order, (Q,)."""
    return query_order(n, queries).sort().values


def spans(n: int, size: int) -> Iterator[tuple[int, int]]:
    """Starts and ends of consecutive pieces of n things."""
    for start in range(0, n, size):
        yield start, min(start + size, n)


class Panel(NamedTuple):
    """Samples that share one pass over the posteriors.

    Attributes:
        z: (R, D) in float64, the samples.
        own: (R,), which posterior each was drawn from.
        mine: (R,) nats, log density under it.
        shift: (D,), taken off samples and means.
        left: (R, 2D + 2), factor of the product that gives log densities less the own one.
        single: the same in float32.
        reach: (blocks, D), largest squares in every block of rows.
    """

    z: Tensor
    own: Tensor
    mine: Tensor
    shift: Tensor
    left: Tensor
    single: Tensor
    reach: Tensor


class Block(NamedTuple):
    """Some rows of a panel, with a block of posteriors.

    Attributes:
        rows: of the panel.
        first: number of the first posterior.
        mean, scale: (C, D) in float64.
        right: (2D + 2, C), the other factor of the product.
        single: the same in float32.
        size: (C,), sums of the absolute terms of the product, at most: rounding is in proportion to them.
    """

    rows: slice
    first: int
    mean: Tensor
    scale: Tensor
    right: Tensor
    single: Tensor
    size: Tensor


def log_ratios(
    mean: Tensor,
    scale: Tensor,
    z: Tensor,
    own: Tensor,
    chunk: int | None = None,
    release: Callable[[], None] = lambda: None,
) -> Tensor:
    r"""$\log q(z_r|x_{i(r)}) - \log\sum_j q(z_r|x_j)$, (R,) nats, at most 0.

    Of more than 2,048 posteriors a product in float32 gives what it can within 5e-5 nats. Where they are too tight for
    that, it tells which pairs are near, and differences in float64 give their densities; where many are near, a product
    in float64 does.

    Arguments:
        mean, scale: (N, D), of all posteriors, in any floating type; they are read in blocks.
        z: (R, D) in float64, samples.
        own: (R,), which posterior each was drawn from: i(r).
        chunk: samples at once.
        release: called after every part of the posteriors, to hand pages of a file back.
    """
    shift = torch.stack([m.double().sum(0) for m in torch.split(mean, SIDE * SLABS)]).sum(0) / len(mean)
    width = -(-len(mean) // (SLABS * SIDE)) * SIDE
    out = torch.empty(len(z), dtype=torch.float64)
    for start, stop in spans(len(z), chunk or PANEL):
        panel = panel_of(mean, scale, shift, z[start:stop], own[start:stop], release)

        def part(span: tuple[int, int], panel: Panel = panel) -> Tensor:
            sums = sums_over(mean, scale, panel, *span)
            release()
            return sums

        total, rounding = torch.stack(each_piece(part, spans(len(mean), width))).sum(0)
        out[start:stop] = rounding - total.log()
    return out.clamp_(-FAR, 0)  # at most 0 but for rounding; -inf where exp overflows


def panel_of(mean: Tensor, scale: Tensor, shift: Tensor, z: Tensor, own: Tensor, release: Callable[[], None]) -> Panel:
    """What is needed of some samples."""
    mine = torch.empty_like(z[:, 0])
    for start, stop in spans(len(z), SIDE):
        rows = own[start:stop]
        mine[start:stop] = densities(z[start:stop], mean[rows].double(), scale[rows].double())
        release()  # rows here and there in a file bring many others into memory
    at = z - shift
    # One more column takes the own density off every row, so that no row needs its maximum before exp.
    left = torch.cat([at.square(), at, torch.ones(len(z), 1, dtype=z.dtype), -mine[:, None]], 1)
    reach = torch.stack([block.square().amax(0) for block in torch.split(at, SIDE)])
    return Panel(z, own, mine, shift, left, left.float(), reach)


def sums_over(mean: Tensor, scale: Tensor, panel: Panel, first: int, last: int) -> Tensor:
    """Sums of the densities over the own one under some posteriors, and the own log ratio itself, (2, R).

    The latter is 0 but for rounding, which it takes out of the value again, or not among these.
    """
    out = torch.zeros(2, len(panel.z), dtype=torch.float64)
    single, double = (torch.empty(min(SIDE, len(panel.z)) * SIDE, dtype=kind) for kind in DIGITS)
    crowded = len(mean) <= DOUBLE
    for start, stop in spans(last - first, SIDE):
        for block in blocks_of(mean, scale, panel, first + start, first + stop):
            found = None if crowded else in_single(panel, block, single)
            if found is None:
                crowded = True  # and so are most likely the blocks that follow
                found = in_double(panel, block, double)
            out[:, block.rows] += found
    return out


def blocks_of(mean: Tensor, scale: Tensor, panel: Panel, first: int, last: int) -> Iterator[Block]:
    """The posteriors number `first` to `last` with all rows of a panel, by blocks of these."""
    m, s = mean[first:last].double(), scale[first:last].double()
    precision, at, level = s.square().reciprocal_(), m - panel.shift, s.log().sum(1)
    pull = precision * at
    square = (pull * at).sum(1)
    top = -0.5 * (square + m.shape[1] * LOG_2PI) - level
    right = torch.cat([-0.5 * precision, pull, top[:, None], torch.ones_like(top)[:, None]], 1).T
    single, fixed = right.float(), square + level.abs()
    most = largest(panel.left[:, : m.shape[1]] @ precision.amax(0))
    sizes = (panel.reach @ precision.T).clamp_(max=most) + fixed + largest(panel.mine.abs())
    for size, (start, stop) in zip(sizes, spans(len(panel.z), SIDE), strict=True):
        yield Block(slice(start, stop), first, m, s, right, single, size)


def largest(values: Tensor) -> Tensor:
    """The largest of every block of rows, (blocks, 1)."""
    return torch.stack([part.amax() for part in torch.split(values, SIDE)])[:, None]


def in_single(panel: Panel, block: Block, buffer: Tensor) -> Tensor | None:
    """What one block adds, (2, rows), by a product in float32; None where that is not good enough.

    Of posteriors too tight for it those densities are added that count, by differences: what the product puts farther
    below the own density than its error can explain adds nothing.
    """
    if not float(block.size.amax()) < LARGE:  # or NaN
        return None
    logs = product(panel.single, block.rows, block.single, buffer)
    doubt = DIGITS[torch.float32] * block.size
    if doubt.amax() <= TRUST:
        found = summed(logs, panel, block, FLOOR_32)
        return found if found.isfinite().all() else None
    tight = doubt > TRUST
    close = logs >= torch.where(tight, -NEVER - 4 * doubt, torch.inf).float()
    pairs = places(close, int(FEW * close.numel()))
    if pairs is None:
        return None
    found = torch.zeros(2, len(logs), dtype=torch.float64)
    if not tight.all():
        found = summed(logs.masked_fill_(tight, -torch.inf), panel, block, FLOOR_32)
    if len(pairs):
        found[0] += differences(panel, block, pairs)
    return found if found.isfinite().all() else None


def places(marks: Tensor, most: int) -> Tensor | None:
    """Row and column of every mark, (P, 2), or None if they are more than `most`; eight marks are looked at at once."""
    words = (marks.view(torch.int64) if marks.shape[1] % 8 == 0 else marks).nonzero()
    if len(words) <= most and marks.shape[1] % 8 == 0:
        inner = marks.view(len(marks), -1, 8)[words[:, 0], words[:, 1]].nonzero()
        row, column = words[inner[:, 0]].T
        words = torch.stack([row, 8 * column + inner[:, 1]], 1)
    return words if len(words) <= most else None


def in_double(panel: Panel, block: Block, buffer: Tensor) -> Tensor:
    """What one block adds, (2, rows), by a product in float64; by differences where even that is not good enough."""
    logs = product(panel.left, block.rows, block.right, buffer)
    doubt = DIGITS[torch.float64] * block.size
    tight = ~(doubt <= LOOSE)
    if not tight.any():
        return summed(logs, panel, block, FLOOR)
    close = ~(logs < -NEVER - 4 * doubt) & tight
    found = summed(logs.masked_fill_(tight, -torch.inf), panel, block, FLOOR)
    found[0] += differences(panel, block, close.nonzero())
    return found


def product(left: Tensor, rows: slice, right: Tensor, buffer: Tensor) -> Tensor:
    """Log densities less the own ones, (rows, C)."""
    shape = rows.stop - rows.start, right.shape[1]
    return torch.mm(left[rows], right, out=buffer[: shape[0] * shape[1]].view(shape))


def summed(logs: Tensor, panel: Panel, block: Block, floor: float) -> Tensor:
    """Sums of exp over each row, and own log ratios that are here and not -inf, (2, rows); overwrites `logs`."""
    out = torch.zeros(2, len(logs), dtype=torch.float64)
    own = panel.own[block.rows] - block.first
    here = ((own >= 0) & (own < logs.shape[1])).nonzero().squeeze(1)
    mine = logs[here, own[here]].double()
    out[1, here] = mine.masked_fill_(mine == -torch.inf, 0)
    out[0] = logs.clamp_(min=-floor).exp_().sum(1)
    return out


def differences(panel: Panel, block: Block, pairs: Tensor) -> Tensor:
    """Sums of the densities over the own one of some pairs (P, 2) of row and posterior, (rows,)."""
    z, mine = panel.z[block.rows], panel.mine[block.rows]
    total = torch.zeros_like(mine)
    for part in torch.split(pairs, max(1, ELEMENTS // z.shape[1])):
        i, j = part.T
        total.index_add_(0, i, (densities(z[i], block.mean[j], block.scale[j]) - mine[i]).exp())
    return total


def densities(z: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Log density of points (R, D) under diagonal Gaussians (R, D), row by row, (R,) nats."""
    distance: Tensor = ((z - mean) / scale).square().sum(1)
    return -0.5 * (distance + mean.shape[1] * LOG_2PI) - scale.log().sum(1)


def ratios_of(codes: Codes, z: Tensor, own: Tensor, chunk: int | None = None) -> Tensor:
    """The same for posteriors of any family, from their own densities."""
    out = torch.empty(len(z), dtype=torch.float64)
    # A density of R samples under N posteriors passes R x N x D numbers.
    step = chunk or max(16, ELEMENTS // len(codes))
    for start, stop in spans(len(z), max(1, step // codes.latent)):
        block = densities_of(codes, z[start:stop])
        out[start:stop] = block.gather(1, own[start:stop, None]).squeeze(1) - block.logsumexp(1)
    return out.clamp_(-FAR, 0)


def densities_of(codes: Codes, z: Tensor) -> Tensor:
    """log q(z_r|x_j) of points (R, D) and all j, from the posteriors themselves, (R, N) in float64."""
    with torch.no_grad():
        return torch.cat([q.log_prob(z[:, None].to(q.mean)).double().cpu() for q in codes.posteriors], 1)
