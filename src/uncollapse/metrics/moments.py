"""The upper bound of the information from the moments of the aggregate posterior, in passes over blocks of codes."""

from collections.abc import Callable

import torch
from torch import Tensor

from uncollapse.codes import Codes
from uncollapse.metrics.estimate import Estimate, mean_estimate
from uncollapse.metrics.parallel import each_piece
from uncollapse.metrics.ratios import spans

__all__ = ["average", "by_block", "by_row", "moment_bound", "power", "row_sums"]

ROWS = 2**13  #: examples of one block
FEW = 10  #: examples per latent below which the covariance is uncertain
TIGHT = 1e-4  #: smallest pivot of a correlation matrix whose products are believed: its logarithm is off by 1e-8 D nats


def by_block(
    work: Callable[[Tensor, Tensor], Tensor], one: Tensor, two: Tensor, release: Callable[[], None] = lambda: None
) -> Tensor:
    """What the work makes of every block of rows of two tables (N, D), in float64, (blocks, ...)."""
    parts = list(spans(len(one), ROWS))
    first = work(one[:1].double(), two[:1].double())
    out = torch.empty(len(parts), *first.shape, dtype=first.dtype)
    # Written in place: small results among large temporaries would keep the memory of these from being used again.

    def piece(number: int) -> None:
        rows = slice(*parts[number])
        out[number] = work(one[rows].double(), two[rows].double())
        release()

    each_piece(piece, range(len(parts)))
    return out


def by_row(
    work: Callable[[Tensor, Tensor], Tensor], one: Tensor, two: Tensor, release: Callable[[], None] = lambda: None
) -> Tensor:
    """What the work makes of every row of two tables (N, D), in float64, (N, ...)."""
    first = work(one[:1].double(), two[:1].double())
    out = torch.empty(len(one), *first.shape[1:], dtype=first.dtype)

    def piece(span: tuple[int, int]) -> None:
        rows = slice(*span)
        out[rows] = work(one[rows].double(), two[rows].double())
        release()

    each_piece(piece, spans(len(one), ROWS))
    return out


def average(codes: Codes, table: Tensor) -> Tensor:
    """Mean of every column of one of the codes' tables, (D,), read in blocks."""
    return mean_of(table, codes.release)


def mean_of(table: Tensor, release: Callable[[], None] = lambda: None) -> Tensor:
    """Mean of every column, (D,); from the first row on, so that the mean of a constant is that constant to the bit."""
    first = table[0].double()
    return first + by_block(lambda t, _: (t - first).sum(0), table, table, release).sum(0) / len(table)


def power(codes: Codes, table: Tensor, exponent: int) -> Tensor:
    """Central moment of every column, (D,)."""
    centre = average(codes, table)
    parts = by_block(lambda t, _: (t - centre).pow(exponent).sum(0), table, table, codes.release)
    return parts.sum(0) / len(codes)


def row_sums(codes: Codes, table: Tensor) -> Tensor:
    """Sum over the columns, (N,)."""
    return by_row(lambda t, _: t.sum(1), table, table, codes.release)


def moment_bound(mean: Tensor, scale: Tensor, covariance: str, release: Callable[[], None] = lambda: None) -> Estimate:
    """Mean divergence of the posteriors from the Gaussian with the moments of their mixture, nats."""
    n = len(mean)
    centre = mean_of(mean, release)
    if covariance == "full" and n <= mean.shape[1]:
        return bound_by_directions(mean, scale, centre, release)
    spread = by_block(lambda m, s: ((m - centre).square() + s.square()).sum(0), mean, scale, release).sum(0) / n
    width = spread.sqrt()  # unit marginals: a well conditioned matrix
    factor = factor_of(mean, scale, centre, width, release) if covariance == "full" else None
    if factor is not None and not float(factor.diagonal().amin()) > TIGHT:
        return bound_by_directions(mean, scale, centre, release)

    def divergences(m: Tensor, s: Tensor) -> Tensor:
        m, s = (m - centre) / width, s / width
        return diagonal_divergences(m, s) if factor is None else full_divergences(m, s, factor)

    return at_least_zero(by_row(divergences, mean, scale, release), factor is not None and n < FEW * mean.shape[1])


def at_least_zero(values: Tensor, few: bool) -> Estimate:
    """The mean of divergences (N,), which rounding may take below 0."""
    found = mean_estimate(values, "nats", ("few examples per latent",) if few else ())
    return Estimate(max(found, 0.0), found.se, found.n, found.unit, found.flags)


def factor_of(mean: Tensor, scale: Tensor, centre: Tensor, width: Tensor, release: Callable[[], None]) -> Tensor:
    """Lower triangular factor of the mixture's correlation matrix; zeros where rounding leaves it none."""

    def part(m: Tensor, s: Tensor) -> Tensor:
        m, s = (m - centre) / width, s / width
        return m.T @ m + s.square().sum(0).diag()

    factor, failed = torch.linalg.cholesky_ex(by_block(part, mean, scale, release).sum(0) / len(mean))
    return torch.zeros_like(factor) if failed else factor


def bound_by_directions(mean: Tensor, scale: Tensor, centre: Tensor, release: Callable[[], None]) -> Estimate:
    r"""The same for posteriors much narrower than their means are apart, where a matrix of products drowns the scales.

    With $\bar s^2$ the mean squared scale of each latent and $Y = (\mu - c) / (\bar s \sqrt N) = U \Sigma V^\top$, the
    covariance is $\bar s\,(1 + V \Sigma^2 V^\top)\,\bar s$. Singular values come from Y, never from its square.
    """
    n = len(mean)
    level = (by_block(lambda s, _: s.square().sum(0), scale, scale, release).sum(0) / n).sqrt()
    upper = mean.new_zeros(0, mean.shape[1], dtype=torch.float64)
    for start, stop in spans(n, max(ROWS, mean.shape[1])):
        upper = torch.cat([upper, (mean[start:stop].double() - centre) / (level * n**0.5)])
        upper = torch.linalg.qr(upper, "r").R if len(upper) > mean.shape[1] else upper
        release()
    _, singular, ways = torch.linalg.svd(upper, full_matrices=False)
    shrink = 1 / (1 + singular.square())
    alone = 1 - (ways.square() * (singular.square() * shrink)[:, None]).sum(0)  # diagonal of the inverse
    log_det = singular.square().log1p().sum() + 2 * level.log().sum()

    def divergences(m: Tensor, s: Tensor) -> Tensor:
        distance: Tensor = (((m - centre) / level) @ ways.T).square() @ shrink + (s / level).square() @ alone
        found: Tensor = 0.5 * (distance - mean.shape[1] + log_det) - s.log().sum(1)
        return found

    return at_least_zero(by_row(divergences, mean, scale, release), n < FEW * mean.shape[1])


def diagonal_divergences(mean: Tensor, scale: Tensor) -> Tensor:
    """KL of standardised diagonal Gaussians (N, D) from N(0, I), (N,) nats."""
    return 0.5 * (mean.square() + scale.square() - 1).sum(1) - scale.log().sum(1)


def full_divergences(mean: Tensor, scale: Tensor, factor: Tensor) -> Tensor:
    """KL of centred diagonal Gaussians (N, D) from N(0, L L') for a lower triangular factor L, (N,) nats."""
    inverse = torch.linalg.solve_triangular(factor, torch.eye(len(factor), dtype=factor.dtype), upper=False)
    distance: Tensor = (mean @ inverse.T).square().sum(1) + scale.square() @ inverse.square().sum(0)
    log_det: Tensor = 2 * factor.diagonal().log().sum()
    return 0.5 * (distance - mean.shape[1] + log_det) - scale.log().sum(1)
