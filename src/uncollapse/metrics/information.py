"""How much the latents tell about the data: a bracket round I(x;z) whose limits are known."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from uncollapse.codes import Codes
from uncollapse.errors import BadInput
from uncollapse.functional import gaussian_columns
from uncollapse.metrics.estimate import Estimate, mean_estimate

__all__ = ["Bracket", "mutual_information"]

NEAR = 0.1  #: nats below the ceiling from which on a lower bound counts as saturated
BIASED = (
    1.5  #: nats below the ceiling from which on its downward bias shows (0.4 nats where the truth is 1 nat below it)
)
ELEMENTS = 2**18  #: of one block of the N x N matrix: 2 MiB, which stays in the cache
TIGHT = 1e6  #: spread of the means in posterior scales beyond which the matrix product loses its digits
FAR = 700.0  #: nats; beyond, exp overflows
RATE = ("the KL to the prior",)  #: flag of an upper bound without moments
FEW = 10  #: examples per latent below which the covariance of the upper bound is uncertain


class Bracket(NamedTuple):
    """Two bounds of the mutual information I(x;z), nats.

    Attributes:
        lower: estimated from samples against the whole set; never above `ceiling`.
        upper: from the Gaussian with the moments of the aggregate posterior.
        ceiling: log N, the most that N examples can show.
        saturated: whether `lower` is within 0.1 of the ceiling, so that the truth may be far above it.
    """

    lower: Estimate
    upper: Estimate
    ceiling: float
    saturated: bool


def mutual_information(codes: Codes, chunk: int | None = None, covariance: str = "full") -> Bracket:
    r"""Bracket the information that a sample of the posterior holds about its input.

    $\text{lower} = \frac1N \sum_i \Big[\log q(z_i|x_i) - \log \frac1N \sum_j q(z_i|x_j)\Big] \le \log N$,
    $\text{upper} = \frac1N \sum_i \mathrm{KL}(q_i \,\|\, m)$,
    with one sample $z_i \sim q_i$, the same in both terms, over the whole set, and m the Gaussian that has the
    mean and covariance of the aggregate posterior. Both are 0 when all posteriors are equal, wherever they are.
    What noise takes below 0 is returned as 0. For posteriors of another family (on a sphere, say) the Gaussian m has
    no place: there the upper bound is their mean KL to the prior, $I = \overline{\mathrm{KL}(q_i\|p)} -
    \mathrm{KL}(q(z)\|p)$ without its second part, and says so in its flags.

    Arguments:
        codes: posteriors of N examples.
        chunk: rows of the N x N matrix held at once; the memory is O(chunk x N) and the result does not
            depend on it. About 2 MiB if None.
        covariance: "full", or "diagonal" for a looser upper bound without a D x D matrix.

    Returns:
        A `Bracket`.

    Raises:
        BadInput: when an argument is out of range, or codes without scales do not hold their posteriors.

    References:
        Hoffman, Johnson, 2016, "ELBO surgery", for the quantity;
        Poole et al., 2019, https://arxiv.org/abs/1905.06922, eq. 1 and 12, for the two bounds.

    Example:
        >>> codes = uncollapse.Codes.from_gaussian(torch.full((100, 16), 4.0), torch.ones(100, 16))
        >>> bracket = mutual_information(codes)
        >>> float(codes.kl.sum(1).mean()), round(bracket.lower, 9), round(bracket.upper, 9)
        (128.0, 0.0, 0.0)
    """
    if covariance not in ("full", "diagonal"):
        raise BadInput(f'covariance should be "full" or "diagonal", got {covariance!r}')
    step, ceiling = rows(chunk, len(codes)), math.log(len(codes))
    if codes.posteriors:
        values, upper = ratios_of(codes, step) + ceiling, mean_estimate(codes.kl.double().sum(1), "nats", RATE)
    else:
        mean, scale, z = codes.gaussian("mutual_information")
        values, upper = log_ratios(mean, scale, z, step) + ceiling, moment_bound(mean, scale, covariance)
    raw = mean_estimate(values, "nats")
    if raw < -(3 * raw.se + 1e-9):
        raw.flags = ("below 0: the samples do not belong to their posteriors",)
    lower = Estimate(min(max(raw, 0.0), ceiling), raw.se, raw.n, "nats", raw.flags)
    saturated = bool(lower > ceiling - NEAR)
    if saturated:
        lower.flags = (*lower.flags, "saturated")
    elif lower > ceiling - BIASED:
        lower.flags = (*lower.flags, "near the ceiling: too low")
    return Bracket(lower, upper, ceiling, saturated)


def rows(chunk: int | None, n: int) -> int:
    """Rows of an N x N matrix to hold at once."""
    if chunk is None:
        return max(16, ELEMENTS // n)
    if isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1:
        raise BadInput(f"chunk should be a positive whole number of rows, got {chunk!r}")
    return chunk


def log_ratios(mean: Tensor, scale: Tensor, z: Tensor, chunk: int) -> Tensor:
    r"""$\log q(z_i|x_i) - \log\sum_j q(z_i|x_j)$ for every example, (N,) nats, at most 0."""
    if float(((mean - mean.mean(0)).abs() / scale).max()) > TIGHT:
        return exact_log_ratios(mean, scale, z)
    columns, n = gaussian_columns(mean, scale), len(z)
    left = columns.left(z)
    own = (left * columns.right.T).sum(1, keepdim=True)
    # One more column takes the own density off every row, so that no row needs its maximum before exp.
    left, right = torch.cat([left, -own], 1), torch.cat([columns.right, own.new_ones(1, n)])
    out = torch.empty(n, dtype=torch.float64)
    buffer = torch.empty(min(chunk, n), n, dtype=torch.float64)
    for start in range(0, n, chunk):
        stop = min(start + chunk, n)
        block = torch.mm(left[start:stop], right, out=buffer[: stop - start])
        rounding = block.diagonal(start).clone()  # 0 but for rounding, which this takes out of the value again
        out[start:stop] = rounding - block.exp_().sum(1).log()
    return out.clamp_(-FAR, 0)  # at most 0 but for rounding; -inf where exp overflows


def ratios_of(codes: Codes, chunk: int) -> Tensor:
    """The same for posteriors of any family, from their own densities."""
    out = torch.empty(len(codes), dtype=torch.float64)
    step = max(1, chunk // codes.latent)  # a density of R samples under N posteriors passes R x N x D numbers
    for start in range(0, len(codes), step):
        block = codes.log_densities(slice(start, start + step))
        out[start : start + step] = block.diagonal(start) - block.logsumexp(1)
    return out.clamp_(-FAR, 0)


def exact_log_ratios(mean: Tensor, scale: Tensor, z: Tensor) -> Tensor:
    """The same from differences, N x N x D of them in pieces: for posteriors so tight that the product cancels."""
    n, latent = mean.shape
    constant = -scale.log().sum(1)
    own = constant - 0.5 * ((z - mean) / scale).square().sum(1)
    out = []
    for index in torch.split(torch.arange(n), max(1, 16 * ELEMENTS // (n * latent))):
        block = constant - 0.5 * ((z[index, None] - mean) / scale).square().sum(2)
        out.append(own[index] - block.logsumexp(1))
    return torch.cat(out).clamp_(-FAR, 0)


def moment_bound(mean: Tensor, scale: Tensor, covariance: str) -> Estimate:
    """Mean divergence of the posteriors from the Gaussian with the moments of their mixture, nats."""
    n, latent = mean.shape
    spread = (mean - mean.mean(0)).square().mean(0) + scale.square().mean(0)
    width = spread.sqrt()
    mean, scale = (mean - mean.mean(0)) / width, scale / width  # unit marginals: a well conditioned matrix
    flags: tuple[str, ...] = ()
    values = 0.5 * (mean.square() + scale.square() - 1).sum(1) - scale.log().sum(1)
    if covariance == "full":
        mixture = mean.T @ mean / n + scale.square().mean(0).diag()
        factor, failed = torch.linalg.cholesky_ex(mixture)
        if failed:
            flags = ("singular covariance: diagonal bound",)
        else:
            values = full_divergences(mean, scale, factor)
            flags = ("few examples per latent",) if n < FEW * latent else ()
    found = mean_estimate(values, "nats", flags)
    return Estimate(max(found, 0.0), found.se, found.n, found.unit, found.flags)


def full_divergences(mean: Tensor, scale: Tensor, factor: Tensor) -> Tensor:
    """KL of centred diagonal Gaussians (N, D) from N(0, L L') for a lower triangular factor L, (N,) nats."""
    inverse = torch.linalg.solve_triangular(factor, torch.eye(len(factor), dtype=factor.dtype), upper=False)
    distance: Tensor = (mean @ inverse.T).square().sum(1) + scale.square() @ inverse.square().sum(0)
    log_det: Tensor = 2 * factor.diagonal().log().sum()
    return 0.5 * (distance - mean.shape[1] + log_det) - scale.log().sum(1)
