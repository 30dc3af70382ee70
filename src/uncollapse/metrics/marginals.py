"""Log densities of a mixture of many Gaussians on a line, at many points: what the information of one latent is of."""

import math

import torch
from torch import Tensor

from uncollapse.metrics.ratios import FAR, FLOOR, spans

__all__ = ["ERROR", "log_shares"]

PLAIN = 2**23  #: pairs of points and components up to which every pair is looked at
ELEMENTS = 2**18  #: of one block: 2 MiB, which stays in the cache
NEVER = 32.0  #: nats below a sample's own density at which another component adds nothing
NEAR = 300.0  #: scales within which an expanded square keeps eleven digits
BLOCK = 64  #: neighbouring points that share their window of components
LEVELS = (33, 129, 513)  #: nodes of an interpolation
CHECKED = 64  #: points at which an interpolation is compared with the truth
ERROR = 1e-4  #: nats by which it may be off at the worst of them
TAILS = 0.01  #: share of the points on either side that are never interpolated


def log_shares(z: Tensor, centre: Tensor, scale: Tensor, own: Tensor) -> Tensor:
    r"""$\log q(z_r|x_{i(r)}) - \log\sum_k q(z_r|x_k)$ for Gaussians on a line, (R,) nats, at most 0.

    For up to 2^23 pairs all are summed up. Beyond, a mixture that is smooth on the scale of its points is interpolated
    between Chebyshev nodes, if the result is within 1e-4 nats of the truth at each of 64 points; otherwise, and in the
    tails, every component within reach is summed up, which leaves out less than N e^-32 of the sum.

    Arguments:
        z: (R,) in float64, samples.
        centre, scale: (N,) in float64, means and standard deviations.
        own: (R,), which component each was drawn from: i(r).
    """
    mine = -0.5 * ((z - centre[own]) / scale[own]).square() - scale[own].log()
    if len(z) * len(centre) <= PLAIN:
        return -sums(z, mine, centre, scale).log().clamp(0, FAR)
    order = z.argsort()
    out = torch.empty_like(z)
    first = int(TAILS * len(z))
    inner = order[first : len(z) - first]
    values = interpolated(z[inner], mine[inner], centre, scale)
    if values is None:
        out[order] = windowed(z[order], mine[order], centre, scale)
    else:
        out[inner] = values
        for tail in (order[:first], order[len(z) - first :]):
            out[tail] = sums(z[tail], mine[tail], centre, scale).log()
    return -out.clamp(0, FAR)


def sums(points: Tensor, reference: Tensor, centre: Tensor, scale: Tensor) -> Tensor:
    r"""$\sum_k e^{\log q_k(z_r) - \text{reference}_r}$ over all components, but for the constant of a normal, (R,)."""
    total = torch.zeros_like(points)
    if not len(points) or not len(centre):
        return total
    middle = points.mean()
    p, widest = points - middle, float((centre - middle).abs().max())
    expand = max(float(p.abs().max()), widest) < NEAR * float(scale.min())
    left = torch.stack([p.square(), p, torch.ones_like(p), -reference], 1)
    for start, stop in spans(len(centre), max(1, ELEMENTS // len(points))):
        rate = scale[start:stop].reciprocal()
        if expand:
            c, square = centre[start:stop] - middle, rate.square()
            right = torch.stack([-0.5 * square, square * c, rate.log() - 0.5 * square * c.square(), torch.ones_like(c)])
            block = left @ right
        else:
            block = ((points[:, None] - centre[start:stop]) * rate).square_().mul_(-0.5).add_(rate.log())
            block.sub_(reference[:, None])
        total += block.clamp_(min=-FLOOR).exp_().sum(1)
    return total


def windowed(points: Tensor, reference: Tensor, centre: Tensor, scale: Tensor) -> Tensor:
    """Logarithms of `sums` at sorted points, from the components in reach: by octaves of their scales, each sorted."""
    total = torch.zeros_like(points)
    octave = (scale / scale.min()).log2().floor()
    for group in set(octave.tolist()):
        members = (octave == group).nonzero().squeeze(1)
        members = members[centre[members].argsort()]
        c, s = centre[members], scale[members]
        for start, stop in spans(len(points), BLOCK):
            p, r = points[start:stop], reference[start:stop]
            room = 2 * (NEVER - float(r.min()) - float(s.min().log()))
            if room > 0:
                reach = math.sqrt(room) * float(s.max())
                edges = torch.stack([p[0] - reach, p[-1] + reach])
                low, high = torch.searchsorted(c, edges).tolist()
                total[start:stop] += sums(p, r, c[low:high], s[low:high])
    return total.log()


def interpolated(points: Tensor, reference: Tensor, centre: Tensor, scale: Tensor) -> Tensor | None:
    """The same between Chebyshev nodes; None where the mixture is too rough for them."""
    low, high = points[0], points[-1]
    needed = 3 * float((high - low) / scale.kthvalue(1 + len(scale) // 20).values)
    levels = [nodes for nodes in LEVELS if needed <= nodes < len(points) / 2]
    if not levels or not high > low:
        return None
    some = torch.linspace(0, len(points) - 1, CHECKED).long()
    level = reference.median()
    truth = sums(points[some], level.expand(CHECKED), centre, scale).log()
    for nodes in levels:
        x = torch.cos(torch.linspace(0, math.pi, nodes, dtype=torch.float64))
        at = low + (high - low) * 0.5 * (1 + x)
        values = sums(at, level.expand(nodes), centre, scale).log()
        found = barycentric(at, values, points)
        if float((found[some] - truth).abs().max()) < ERROR:  # False for NaN
            return found + level - reference
    return None


def barycentric(nodes: Tensor, values: Tensor, points: Tensor) -> Tensor:
    """The polynomial through values at Chebyshev nodes of the second kind, at points (R,).

    References:
        Berrut, Trefethen, 2004, "Barycentric Lagrange interpolation", eq. 4.2 and 5.4.
    """
    weights = torch.ones_like(nodes)
    weights[1::2] = -1
    weights[[0, -1]] *= 0.5
    gap = points[:, None] - nodes
    shares = weights / torch.where(gap == 0, 1e-300, gap)
    found: Tensor = (shares @ values) / shares.sum(1)
    return found
