r"""One negative or many: how noisy are a binary and a multi-sample critic at equal cost?

The information is known: $x \sim \mathcal N(0, I_D)$, $z = ax + \sqrt v\,\epsilon$, so
$I = \tfrac D2\log(1 + a^2/v)$ and $q(z) = \mathcal N(0, (a^2 + v) I)$. Both critics get the best scores there are,
$\log q(z|x) - \log q(z)$ with the current a, as a self critic has them; what is left is the noise of the draw. Cost is
counted in two ways: examples (passes of the encoder), and scores (evaluations of the critic). A multi-sample critic
with K candidates uses K scores for each of its n examples, in groups of K; a binary one uses two (its own pair and one
of another example), so that for equal scores it sees K/2 times as many examples.

Reported: mean and standard deviation of the bound that the loss stands for (log K - loss; 2 log 2 - loss, which bounds
2 JS <= I), and of its derivative in a; the relative noise std / |mean| of the derivative is what slows training down.
"""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from uncollapse.protocols.exact.common import Progress, lines, settings_of, tell

__all__ = ["compute", "information"]

LATENT = 4


class Plan(NamedTuple):
    """Examples n of a batch, numbers of candidates, draws of a batch, and nats of information per setting."""

    examples: int
    candidates: tuple[int, ...]
    draws: int
    nats: tuple[float, ...]


SCALES = {
    "small": Plan(64, (2, 4, 8, 16, 32, 64), 1000, (0.5, 2.0, 4.0)),
    "paper": Plan(64, (2, 4, 8, 16, 32, 64), 20000, (0.5, 1.0, 2.0, 4.0, 8.0)),
}


def information(gain: float, noise: float, latent: int = LATENT) -> float:
    """I(x;z), nats."""
    return 0.5 * latent * math.log1p(gain**2 / noise)


def compute(scale: str = "small", progress: Progress | None = None) -> dict[str, Any]:
    """Noise of both critics, by Monte Carlo over batches.

    Arguments:
        scale: "small" or "paper".
        progress: told in words what is going on.

    Returns:
        rows: one an information, a critic and a cost: mean and std of the bound and of its derivative in a.
        quantities: `examples_ratio_K` and `scores_ratio_K`, the relative noise of the binary critic's derivative over
            that of the multi-sample one with K candidates at equal examples or equal scores, least over the settings
            of the information; `examples_ratio_most_K` and so on, the largest; and `bias_K`, the mean bound over the
            true information at the largest information.
        figure: relative noise of the derivative against K, and mean bounds against K.

    References:
        Menon, Blei, Vondrick, 2022, https://arxiv.org/abs/2207.09535, appendix C, for the question;
        Poole et al., 2019, https://arxiv.org/abs/1905.06922, for the bounds.
    """
    plan = settings_of(scale, SCALES)
    rows: list[dict[str, Any]] = []
    for nats in plan.nats:
        tell(progress, f"critics at {nats:g} nats")
        rows += table(nats, plan)
    ratios = {name: ratios_of(rows, plan, name) for name in ("examples", "scores")}
    quantities: dict[str, float] = {}
    for name, found in ratios.items():
        for k, values in found.items():
            quantities |= {f"{name}_ratio_{k}": min(values), f"{name}_ratio_most_{k}": max(values)}
    top = max(plan.nats)
    for k in plan.candidates:
        row = row_of(rows, top, k, "multi-sample")
        quantities[f"bias_{k}"] = row["bound"] / row["information"]
    return {"rows": rows, "quantities": quantities, "figure": {"panels": panels(rows, plan)}}


def table(nats: float, plan: Plan) -> list[dict[str, Any]]:
    """Both critics at one information."""
    gain, noise = 1.0, 1 / math.expm1(2 * nats / LATENT)
    rows = []
    for k in plan.candidates:
        tries = {
            "multi-sample": (plan.examples, k, plan.examples * k),
            "binary, equal examples": (plan.examples, 0, 2 * plan.examples),
            "binary, equal scores": (plan.examples * k // 2, 0, plan.examples * k),
        }
        for name, (examples, candidates, scores) in tries.items():
            found = moments(gain, noise, examples, candidates, plan.draws)
            rows.append(
                {"arm": f"{nats:g} nats, K = {k}, {name}", "critic": name, "information": information(gain, noise),
                 "candidates": k, "examples": examples, "scores": scores, **found}
            )  # fmt: skip
    return rows


def moments(gain: float, noise: float, examples: int, candidates: int, draws: int, seed: int = 0) -> dict[str, float]:
    """Mean and std over batches of a bound and its derivative in the gain; `candidates` = 0 is the binary critic.

    All batches are drawn as one long one whose gain is a number of each batch, so one backward pass gives every
    batch its own derivative.
    """
    generator = torch.Generator().manual_seed(seed)
    bounds, slopes = [], []
    each = max(1, 2**21 // (examples * max(candidates, 2) * LATENT))
    for count in (min(each, draws - start) for start in range(0, draws, each)):
        x, eps = (torch.randn(count, examples, LATENT, generator=generator, dtype=torch.float64) for _ in range(2))
        a = torch.full((count, 1, 1), gain, dtype=torch.float64, requires_grad=True)
        z = a * x + math.sqrt(noise) * eps
        bound = multi(x, z, a, noise, candidates) if candidates else binary(x, z, a, noise)
        slopes.append(torch.autograd.grad(bound.sum(), a)[0].flatten())
        bounds.append(bound.detach())
    bound, slope = torch.cat(bounds), torch.cat(slopes)
    mean, std = float(slope.mean()), float(slope.std())
    return {
        "bound": float(bound.mean()), "bound_std": float(bound.std()), "gradient": mean, "gradient_std": std,
        "relative_noise": std / abs(mean), "standard_error": std / math.sqrt(draws),
    }  # fmt: skip


def multi(x: Tensor, z: Tensor, a: Tensor, noise: float, candidates: int) -> Tensor:
    """log K minus the loss of each batch (S,), in groups of K examples."""
    count, examples, latent = x.shape
    groups = (count, examples // candidates, candidates, latent)
    left, right = z.reshape(groups).unsqueeze(3), (a * x).reshape(groups).unsqueeze(2)
    scores = -0.5 * (left - right).square().sum(-1) / noise  # what depends on z alone cancels
    losses = scores.logsumexp(-1) - scores.diagonal(dim1=-2, dim2=-1)
    return math.log(candidates) - losses.flatten(1).mean(1)


def binary(x: Tensor, z: Tensor, a: Tensor, noise: float) -> Tensor:
    """2 log 2 minus the loss of each batch (S,); the negative of an example is the next one's observation."""
    true, wrong = (log_ratio(z, other, a, noise) for other in (x, x.roll(-1, 1)))
    losses = F.softplus(-true) + F.softplus(wrong)
    return 2 * math.log(2) - losses.mean(1)


def log_ratio(z: Tensor, x: Tensor, a: Tensor, noise: float) -> Tensor:
    """log q(z|x) - log q(z), (S, n)."""
    total = a.square() + noise
    given = (z - a * x).square() / noise
    apart = z.square() / total + (total / noise).log()
    return -0.5 * (given - apart).sum(-1)


def row_of(rows: list[dict[str, Any]], nats: float, k: int, critic: str) -> dict[str, Any]:
    """The row of one setting."""
    return next(r for r in rows if r["arm"] == f"{nats:g} nats, K = {k}, {critic}")


def ratios_of(rows: list[dict[str, Any]], plan: Plan, cost: str) -> dict[int, list[float]]:
    """Relative noise of the binary critic over that of the multi-sample one, by K, one a setting."""
    return {
        k: [
            row_of(rows, nats, k, f"binary, equal {cost}")["relative_noise"]
            / row_of(rows, nats, k, "multi-sample")["relative_noise"]
            for nats in plan.nats
        ]
        for k in plan.candidates
    }


def panels(rows: list[dict[str, Any]], plan: Plan) -> list[dict[str, Any]]:
    """Relative noise and bounds against K."""
    names = ("multi-sample", "binary, equal examples", "binary, equal scores")
    found = []
    for title, key in (("relative noise of the derivative", "relative_noise"), ("mean bound, nats", "bound")):
        series = {
            f"{name}, {nats:g} nats": [[k, row_of(rows, nats, k, name)[key]] for k in plan.candidates]
            for nats in plan.nats
            for name in names
        }
        found.append(lines(title, "candidates K", "", series, log_x=True))
    return found
