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
    return by_block(lambda t, _: t.sum(0), table, table, codes.release).sum(0) / len(codes)


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
    centre = by_block(lambda m, _: m.sum(0), mean, mean, release).sum(0) / n
    spread = by_block(lambda m, s: ((m - centre).square() + s.square()).sum(0), mean, scale, release).sum(0) / n
    width = spread.sqrt()  # unit marginals: a well conditioned matrix
    factor, flags = factor_of(mean, scale, centre, width, release) if covariance == "full" else (None, ())

    def divergences(m: Tensor, s: Tensor) -> Tensor:
        m, s = (m - centre) / width, s / width
        return diagonal_divergences(m, s) if factor is None else full_divergences(m, s, factor)

    found = mean_estimate(by_row(divergences, mean, scale, release), "nats", flags)
    return Estimate(max(found, 0.0), found.se, found.n, found.unit, found.flags)


def factor_of(
    mean: Tensor, scale: Tensor, centre: Tensor, width: Tensor, release: Callable[[], None]
) -> tuple[Tensor | None, tuple[str, ...]]:
    """Lower triangular factor of the mixture's correlation matrix, None if it has none, and flags."""
    n, latent = mean.shape

    def part(m: Tensor, s: Tensor) -> Tensor:
        m, s = (m - centre) / width, s / width
        return m.T @ m + s.square().sum(0).diag()

    factor, failed = torch.linalg.cholesky_ex(by_block(part, mean, scale, release).sum(0) / n)
    if failed:
        return None, ("singular covariance: diagonal bound",)
    return factor, ("few examples per latent",) if n < FEW * latent else ()


def diagonal_divergences(mean: Tensor, scale: Tensor) -> Tensor:
    """KL of standardised diagonal Gaussians (N, D) from N(0, I), (N,) nats."""
    return 0.5 * (mean.square() + scale.square() - 1).sum(1) - scale.log().sum(1)


def full_divergences(mean: Tensor, scale: Tensor, factor: Tensor) -> Tensor:
    """KL of centred diagonal Gaussians (N, D) from N(0, L L') for a lower triangular factor L, (N,) nats."""
    inverse = torch.linalg.solve_triangular(factor, torch.eye(len(factor), dtype=factor.dtype), upper=False)
    distance: Tensor = (mean @ inverse.T).square().sum(1) + scale.square() @ inverse.square().sum(0)
    log_det: Tensor = 2 * factor.diagonal().log().sum()
    return 0.5 * (distance - mean.shape[1] + log_det) - scale.log().sum(1)
