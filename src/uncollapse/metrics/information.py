"""How much the latents tell about the data: a bracket round I(x;z) whose limits are known."""

import math
import time
from typing import NamedTuple

import torch
from torch import Tensor

from uncollapse.codes import Codes, moved, posterior_noise, private_stream
from uncollapse.distributions import describe
from uncollapse.errors import BadInput
from uncollapse.metrics.accelerated import accelerator, log_ratios_on
from uncollapse.metrics.estimate import Estimate, mean_estimate
from uncollapse.metrics.moments import moment_bound, row_sums
from uncollapse.metrics.ratios import PANEL, SIDE, TRUST, log_ratios, query_order, ratios_of

__all__ = ["Bracket", "information_per_example", "mutual_information"]

NEAR = 0.1  #: nats below the ceiling from which on a lower bound counts as saturated
BIASED = (
    1.5  #: nats below the ceiling from which on its downward bias shows (0.4 nats where the truth is 1 nat below it)
)
RATE = ("the KL to the prior",)  #: flag of an upper bound without moments


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


def mutual_information(
    codes: Codes,
    chunk: int | None = None,
    covariance: str = "full",
    queries: int | None = None,
    seconds: float | None = None,
    device: str | torch.device | None = None,
) -> Bracket:
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
        chunk: samples that are compared with the whole set at once, 8,192 if None; bounds the memory (12 bytes times
            2D + 2 a sample, and 3 MiB a thread) and does not change the result.
        covariance: "full", or "diagonal" for a looser upper bound without a D x D matrix.
        queries: how many random examples i the lower bound is evaluated at, each against all N: its mean stays right
            and its standard error, over the queries, says what the choice costs. All N if None. The upper bound is of
            all N.
        seconds: evaluates the lower bound at random examples until so much time is up (512 at least), in the order in
            which `queries` would take them; the flags say at how many. What comes out depends on that number alone.
        device: where the lower bound is computed: "cuda", say, or "auto" for a GPU where there is one; the processor if
            None. Posteriors that are not Gaussian stay on the processor.

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
    chunk = None if chunk is None else positive("chunk", chunk)
    seconds = None if seconds is None else duration(seconds)
    ceiling, order = math.log(len(codes)), query_order(len(codes), queries, shuffled=seconds is not None)
    values = evaluated(codes, order, chunk, seconds, accelerator(device)) + ceiling
    upper = upper_bound(codes, covariance)
    raw = mean_estimate(values, "nats", part_of(len(values), len(codes), seconds))
    if raw < -(3 * raw.se + TRUST):
        raw.flags = ("below 0: the samples do not belong to their posteriors", *raw.flags)
    lower = Estimate(min(max(raw, 0.0), ceiling), raw.se, raw.n, "nats", raw.flags)
    saturated = bool(lower > ceiling - NEAR)
    if saturated:
        lower.flags = (*lower.flags, "saturated")
    elif lower > ceiling - BIASED:
        lower.flags = (*lower.flags, "near the ceiling: too low")
    return Bracket(lower, upper, ceiling, saturated)


def evaluated(
    codes: Codes, order: Tensor, chunk: int | None, seconds: float | None, device: torch.device | None
) -> Tensor:
    """Log ratios of the samples of these examples, or of the first of them where the time runs out, (Q,)."""
    start, done, size = time.perf_counter(), 0, PANEL if seconds is None else SIDE
    values = []
    while done < len(order) and size:
        at = order[done : done + size]
        values.append(ratios(codes, taken(codes, at), at, chunk, device))
        done += len(at)
        if seconds is not None:
            spent = time.perf_counter() - start
            size = min(PANEL, int(done * max(0.0, seconds / spent - 1)) // SIDE * SIDE)
    return torch.cat(values)


def taken(codes: Codes, rows: Tensor) -> Tensor:
    """Samples of some examples, (R, D) in float64."""
    parts = []
    for part in torch.split(rows, SIDE):
        parts.append(codes.sample[part].double())
        codes.release()
    return torch.cat(parts)


def information_per_example(codes: Codes, rows: Tensor, samples: int = 1, seed: int = 0) -> Tensor:
    r"""Information that single codes hold about their inputs: an estimate of $\mathrm{KL}(q_i\|q(z))$.

    The mean over draws $z_{is} \sim q_i$ of $\log q(z_{is}|x_i) - \log\frac1N\sum_j q(z_{is}|x_j)$, always against all
    N. One draw is noisy and may lie below 0; every value is at most log N. The first draw is `codes.sample`, so that
    with one draw the mean over all rows is the lower bound of `mutual_information`.

    Arguments:
        codes: posteriors of N examples.
        rows: (R,), which examples.
        samples: draws for each; those of example i depend on the seed and on i, not on the other rows (for posteriors
            that are not diagonal Gaussians, on the whole table).
        seed: of the draws after the first.

    Returns:
        (R,) nats.

    Raises:
        BadInput: when a row is out of range, or codes without scales do not hold their posteriors.

    Example:
        >>> codes = uncollapse.Codes.from_gaussian(torch.full((100, 16), 4.0), torch.ones(100, 16))
        >>> information_per_example(codes, torch.tensor([0, 7])).abs().max() < 1e-9
        tensor(True)
    """
    return information_draws(codes, rows, samples, seed).mean(0)


def information_draws(codes: Codes, rows: Tensor, samples: int, seed: int) -> Tensor:
    """The values behind `information_per_example`, (samples, R) nats."""
    rows = torch.as_tensor(rows)
    if rows.ndim != 1 or rows.is_floating_point() or not ((rows >= 0) & (rows < len(codes))).all():
        raise BadInput(f"rows should be whole numbers from 0 to {len(codes) - 1}, got {describe(rows)}")
    count = positive("samples", samples)
    z = torch.stack([drawn(codes, rows.long(), draw, seed) for draw in range(count)])
    own = rows.long().repeat(count)
    return (ratios(codes, z.flatten(0, 1), own) + math.log(len(codes))).reshape(count, -1)


def drawn(codes: Codes, rows: Tensor, draw: int, seed: int) -> Tensor:
    """Draw number `draw` of the posteriors at `rows`, (R, D) in float64."""
    if draw == 0:
        return codes.sample[rows].double()
    fresh = private_stream(seed, f"information {draw}").initial_seed()
    if codes.scale is not None:
        noise = posterior_noise(0, len(codes), codes.latent, fresh)[rows]
        return moved(codes.mean[rows], codes.scale[rows], noise)
    devices = {q.mean.device for q in codes.posteriors}
    with torch.random.fork_rng([device for device in devices if device.type == "cuda"]):
        torch.manual_seed(fresh)
        return torch.cat([q.sample().double().cpu() for q in codes.posteriors])[rows]


def ratios(
    codes: Codes, z: Tensor, own: Tensor, chunk: int | None = None, device: torch.device | None = None
) -> Tensor:
    """Log ratios of samples (R, D) of the posteriors `own` (R,), by the family of these."""
    if codes.posteriors:
        return ratios_of(codes, z, own, chunk)
    mean, scale = codes.normal("mutual_information")
    if device is not None:
        return log_ratios_on(device, mean, scale, z, own, chunk, codes.release)
    return log_ratios(mean, scale, z, own, chunk, codes.release)


def positive(name: str, value: int) -> int:
    """The value, if it is a positive whole number."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadInput(f"{name} should be a positive whole number, got {value!r}")
    return value


def duration(seconds: float) -> float:
    """The value, if it is a positive number."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        raise BadInput(f"seconds should be a positive number, got {seconds!r}")
    return seconds


def part_of(queries: int, n: int, seconds: float | None = None) -> tuple[str, ...]:
    """The flag of an estimate that was evaluated at some of the examples."""
    limit = "" if seconds is None else f", which took {seconds:g} s"
    return (f"at {queries:,} of {n:,} examples{limit}",) if queries < n else ()


def upper_bound(codes: Codes, covariance: str) -> Estimate:
    """The upper bound of the information, nats: from moments, or the KL to the prior for other families."""
    if codes.posteriors:
        return mean_estimate(row_sums(codes, codes.kl), "nats", RATE)
    mean, scale = codes.normal("mutual_information")
    return moment_bound(mean, scale, covariance, codes.release)
