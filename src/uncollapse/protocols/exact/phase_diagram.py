r"""The phase diagram of a linear VAE: what training finds against the closed form, over a sweep of $\beta s^2$.

Direction i of the data, with eigenvalue $l_i$, is used exactly where $l_i > \beta s^2$; then the posterior variance is
$\beta s^2/l_i$, the KL is $\tfrac12\log\frac{l_i}{\beta s^2}$, and the variance of the means is $1 - \beta s^2/l_i$.
Compared too: the singular values that Dang et al. give for encoder and decoder at any variance of the prior; and the
beta at which one spike in noise is lost from finite data, which Ichikawa and Hukushima study (their code has an L2
penalty on the weights, which we leave out: with it the threshold is another).
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from uncollapse.protocols.exact.common import Progress, lines, settings_of, tell
from uncollapse.protocols.exact.linear import Fitted, fitted
from uncollapse.testing.linear import optimum

__all__ = ["EIGENVALUES", "compute"]

EIGENVALUES = (4.0, 2.0, 1.0, 0.5, 0.25)
LATENT = 3
BETAS = (1.0, 0.25, 4.0)
ACTIVE = 1e-3  #: variance of the means above which a trained latent counts as used
PRIORS = (0.25, 1.0, 4.0)  #: variances of the prior for Dang et al.


class Plan(NamedTuple):
    """Points of the sweep, first weights at each, and the sizes of the data with one spike in units of X = `sides`."""

    points: int
    starts: int
    sides: int
    ratios: tuple[float, ...]
    halvings: int


SCALES = {
    "small": Plan(25, 1, 30, (1.0, 4.0, 16.0, 64.0), 10),
    "paper": Plan(60, 3, 100, (1.0, 2.0, 4.0, 16.0, 64.0), 14),
}


def compute(scale: str = "small", progress: Progress | None = None) -> dict[str, Any]:
    """The diagram.

    Arguments:
        scale: "small" or "paper".
        progress: told in words what is going on.

    Returns:
        rows: one a value of beta s², trained and closed, with their largest difference.
        quantities: `worst_kl`, `worst_variance`, `worst_mean_variance` (largest differences anywhere), `wrong_active`
            (points where another set of directions is used), `kl_at_top` (trained KL where beta s² is the top
            eigenvalue), `worst_dang_decoder`, `worst_dang_encoder`, `worst_dang_posterior`, `spike_threshold` and
            `spike_population` (trained threshold with most data, and rho + eta), `worst_spike` (largest relative
            difference of a trained threshold from the top eigenvalue of its data).
        figure: KL and variance of the means against beta s².

    References:
        Lucas, Tucker, Grosse, Norouzi, 2019, https://arxiv.org/abs/1911.02469;
        Dang, Tran, Nguyen, Ho, 2023, https://arxiv.org/abs/2306.05023;
        Ichikawa, Hukushima, 2023, https://arxiv.org/abs/2310.15440.
    """
    plan = settings_of(scale, SCALES)
    tell(progress, f"linear VAEs at {plan.points} values of beta s2")
    rows = [point(place, product, plan.starts) for place, product in enumerate(products(plan.points))]
    tell(progress, "Dang et al.: other priors")
    others = [of_dang(prior, seed) for prior in PRIORS for seed in range(plan.starts)]
    tell(progress, "one spike in noise, from finite data")
    spikes = [spike(ratio, plan) for ratio in plan.ratios]
    quantities = {
        "worst_kl": max(row["worst_kl"] for row in rows),
        "worst_variance": max(row["worst_variance"] for row in rows),
        "worst_mean_variance": max(row["worst_mean_variance"] for row in rows),
        "wrong_active": float(sum(row["active"] != row["active_closed"] for row in rows)),
        "kl_at_top": next(row["kl"] for row in rows if row["beta_noise"] == EIGENVALUES[0]),
        **{f"worst_dang_{name}": max(one[name] for one in others) for name in others[0]},
        "spike_threshold": spikes[-1]["threshold"],
        "spike_population": RHO + ETA,
        "worst_spike": max(abs(one["threshold"] / one["top_eigenvalue"] - 1) for one in spikes),
    }
    return {"rows": rows + spikes, "quantities": quantities, "figure": {"panels": figure(rows, spikes)}}


def products(points: int) -> list[float]:
    """Values of beta s², even on a logarithmic scale from above the top eigenvalue, and the eigenvalues themselves."""
    edges = math.log(0.2), math.log(1.5 * EIGENVALUES[0])
    sweep = torch.linspace(edges[1], edges[0], points, dtype=torch.float64).exp().tolist()
    return sorted({*sweep, *EIGENVALUES}, reverse=True)


def point(place: int, product: float, starts: int) -> dict[str, Any]:
    """One value of beta s², trained from several first weights; the differences are the worst of them."""
    beta = BETAS[place % len(BETAS)]
    values = torch.tensor(EIGENVALUES, dtype=torch.float64)
    best = optimum(values, LATENT, product / beta, beta)
    found = [fitted(values.diag(), LATENT, product / beta, beta, seed=100 * place + seed) for seed in range(starts)]
    first = found[0]
    row: dict[str, Any] = {
        "arm": f"beta s2 = {product:.4g}", "beta_noise": product, "beta": beta, "noise": product / beta,
        "active": count(first.mean_variance), "active_closed": count(best.mean_variance),
        "kl": float(first.kl.sum()), "kl_closed": float(best.kl.sum()),
        "worst_kl": worst(found, "kl", best.kl), "worst_variance": worst(found, "variance", best.variance),
        "worst_mean_variance": worst(found, "mean_variance", best.mean_variance), "steps": first.steps,
    }  # fmt: skip
    for name in ("kl", "variance", "mean_variance"):
        for i in range(LATENT):
            row[f"{name}_{i + 1}"] = float(getattr(first, name)[i])
            row[f"{name}_closed_{i + 1}"] = float(getattr(best, name)[i])
    return row


def count(mean_variance: Tensor) -> int:
    """Directions that are used."""
    return int((mean_variance > ACTIVE).sum())


def worst(found: list[Fitted], name: str, closed: Tensor) -> float:
    """Largest difference from the closed form."""
    return max(float((getattr(one, name) - closed).abs().max()) for one in found)


def of_dang(prior: float, seed: int, noise: float = 0.5, beta: float = 1.6) -> dict[str, float]:
    r"""Largest differences from Dang et al., whose $\theta^2$ are our eigenvalues and $\eta$ standard deviations.

    $\omega_i = \frac1{\eta_e}\sqrt{(\theta_i^2 - \beta\eta_d^2)_+}$ for the decoder,
    $\lambda_i = \frac{\eta_e}{\theta_i}\sqrt{(\theta_i^2 - \beta\eta_d^2)_+}$ for the encoder of whitened data, and
    the posterior's standard deviation $\sqrt\beta\,\eta_e\eta_d/\theta_i$, or $\eta_e$ where the direction is lost.
    """
    values = torch.tensor(EIGENVALUES, dtype=torch.float64)
    one = fitted(values.diag(), LATENT, noise, beta, prior, seed)
    theta, kept = values[:LATENT].sqrt(), (values[:LATENT] - beta * noise).clamp(min=0).sqrt()
    width = math.sqrt(prior)
    deviation = torch.where(kept > 0, math.sqrt(beta * noise) * width / theta, width)
    pairs = {
        "decoder": (torch.linalg.svdvals(one.decoder), kept / width),
        "encoder": (torch.linalg.svdvals(one.encoder * values.sqrt()), width * kept / theta),
        "posterior": (one.variance.sqrt(), deviation),
    }
    return {name: float((ours - theirs).abs().max()) for name, (ours, theirs) in pairs.items()}


RHO, ETA = 1.0, 0.5  #: strength of the spike and of the noise


def spike(ratio: float, plan: Plan) -> dict[str, Any]:
    """The beta at which one latent is lost, for `ratio` times as many examples as numbers in each; s² is 1."""
    size, number = plan.sides, int(ratio * plan.sides)
    generator = torch.Generator().manual_seed(int(1000 * ratio))
    direction = torch.randn(size, 1, generator=generator, dtype=torch.float64)
    direction *= math.sqrt(size) / direction.norm()
    hidden, noise = (torch.randn(n, number, generator=generator, dtype=torch.float64) for n in (1, size))
    x = math.sqrt(RHO / size) * direction @ hidden + math.sqrt(ETA) * noise
    covariance = x @ x.T / number
    top = float(torch.linalg.eigvalsh(covariance)[-1])
    low, high = 0.5 * (RHO + ETA), 3.0 * (RHO + ETA) * (1 + 1 / ratio)
    for _ in range(plan.halvings):
        middle = math.sqrt(low * high)
        lost = float(fitted(covariance, 1, 1.0, middle, seed=1).mean_variance[0]) < ACTIVE
        low, high = (low, middle) if lost else (middle, high)
    return {
        "arm": f"one spike, {ratio:g} X examples", "examples": number, "numbers": size,
        "threshold": math.sqrt(low * high), "top_eigenvalue": top, "predicted": predicted(ratio),
        "population": RHO + ETA,
    }  # fmt: skip


def predicted(ratio: float) -> float:
    """The top eigenvalue of large data with this many examples a number (Baik, Ben Arous, Peche)."""
    if ratio * (RHO / ETA) ** 2 > 1:
        return (RHO + ETA) * (1 + ETA / (ratio * RHO))
    return ETA * (1 + 1 / math.sqrt(ratio)) ** 2


def figure(rows: list[dict[str, Any]], spikes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """KL and variance of the means by direction, and the thresholds."""
    panels = []
    for name, title, unit in (("kl", "KL of a direction", "nats"), ("mean_variance", "variance of the means", "")):
        series = {}
        for i in range(LATENT):
            for kind, key in (("trained", f"{name}_{i + 1}"), ("closed form", f"{name}_closed_{i + 1}")):
                series[f"l = {EIGENVALUES[i]:g}, {kind}"] = [[row["beta_noise"], row[key]] for row in rows]
        panels.append(lines(title, "beta s²", unit, series))
    keys = {"trained": "threshold", "top eigenvalue of the data": "top_eigenvalue", "large data": "predicted",
            "rho + eta": "population"}  # fmt: skip
    found = {name: [[one["examples"] / one["numbers"], one[key]] for one in spikes] for name, key in keys.items()}
    panels.append(lines("beta at which one spike is lost", "examples per number", "beta s²", found))
    return panels
