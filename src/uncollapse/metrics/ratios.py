"""Log ratios of every sample's own posterior to all posteriors, by blocks: what estimates of the information are of."""

from collections.abc import Iterator

import torch
from torch import Tensor

from uncollapse.codes import Codes
from uncollapse.errors import BadInput
from uncollapse.functional import LOG_2PI, gaussian_columns

__all__ = ["FAR", "FLOOR", "log_ratios", "query_rows", "ratios_of", "spans"]

FAR = 700.0  #: nats; beyond, exp overflows
SIDE = 512  #: of one block of the matrix of log densities: 2 MiB, which stays in the cache
DIGITS = 1e-16  #: relative error of a product of matrices in float64, for the sum of its absolute terms
LOOSE = 1e-4  #: nats of such an error from which on a posterior is too tight for the product
FLOOR = (
    100.0  #: nats below the own density where a density is cut off: a processor takes 30 times as long over exp(-700)
)
NEVER = 60.0  #: nats below a sample's own density at which another posterior adds nothing
ELEMENTS = 2**18  #: numbers that densities by differences hold at once


def query_rows(n: int, queries: int | None) -> Tensor:
    """The examples at which log ratios are evaluated, (Q,), in order: all of them, or a random choice that stays."""
    if queries is not None and (isinstance(queries, bool) or not isinstance(queries, int) or queries < 2):
        raise BadInput(f"queries should be a whole number of at least 2 examples, got {queries!r}")
    if queries is None or queries >= n:
        return torch.arange(n)
    return torch.randperm(n, generator=torch.Generator().manual_seed(0))[:queries].sort().values


def spans(n: int, size: int) -> Iterator[tuple[int, int]]:
    """Starts and ends of consecutive pieces of n things."""
    for start in range(0, n, size):
        yield start, min(start + size, n)


def log_ratios(mean: Tensor, scale: Tensor, z: Tensor, own: Tensor, chunk: int | None = None) -> Tensor:
    r"""$\log q(z_r|x_{i(r)}) - \log\sum_j q(z_r|x_j)$, (R,) nats, at most 0.

    Arguments:
        mean, scale: (N, D) in float64, of all posteriors.
        z: (R, D) in float64, samples.
        own: (R,), which posterior each was drawn from: i(r).
        chunk: samples at once.
    """
    shift = mean.mean(0)
    out = torch.empty(len(z), dtype=torch.float64)
    for start, stop in spans(len(z), chunk or SIDE):
        out[start:stop] = ratios_of_rows(mean, scale, shift, z[start:stop], own[start:stop])
    return out.clamp_(-FAR, 0)  # at most 0 but for rounding; -inf where exp overflows


def ratios_of_rows(mean: Tensor, scale: Tensor, shift: Tensor, z: Tensor, own: Tensor) -> Tensor:
    """The same for a few samples: one block of posteriors after another, from products of matrices."""
    at = z - shift
    mine = densities(z, mean[own], scale[own])
    # One more column takes the own density off every row, so that no row needs its maximum before exp.
    left = torch.cat([at.square(), at, torch.ones(len(z), 1, dtype=z.dtype), -mine[:, None]], 1)
    reach, total, rounding = at.square().amax(0), torch.zeros_like(mine), torch.zeros_like(mine)
    buffer = z.new_empty(len(z), SIDE)
    for start, stop in spans(len(mean), SIDE):
        m, s = mean[start:stop], scale[start:stop]
        right = torch.cat([gaussian_columns(m, s, shift).right, m.new_ones(1, len(m))])
        block = torch.mm(left, right, out=buffer[:, : len(m)] if len(m) == SIDE else None)
        doubt = DIGITS * ((reach + (m - shift).square()) / s.square()).sum(1)
        if doubt.max() > LOOSE:
            sharpen(block, doubt, z, m, s, mine)
        here = ((own >= start) & (own < stop)).nonzero().squeeze(1)
        # 0 but for rounding, which this takes out of the value again
        rounding[here] = block[here, own[here] - start]
        total += block.clamp_(min=-FLOOR).exp_().sum(1)
    return rounding - total.log()


def sharpen(block: Tensor, doubt: Tensor, z: Tensor, mean: Tensor, scale: Tensor, mine: Tensor) -> None:
    """Replace the log densities under posteriors so tight that the product cancels: those that count, by differences.

    What the product puts farther below the own density than its error can explain adds nothing to the sum.
    """
    tight = (doubt > LOOSE).nonzero().squeeze(1)
    near = block[:, tight] >= -NEVER - 4 * doubt[tight]
    block[:, tight] = -torch.inf
    for pairs in torch.split(near.nonzero(), max(1, ELEMENTS // mean.shape[1])):
        i, j = pairs[:, 0], tight[pairs[:, 1]]
        block[i, j] = densities(z[i], mean[j], scale[j]) - mine[i]


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
