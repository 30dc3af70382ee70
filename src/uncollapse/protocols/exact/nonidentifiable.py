r"""Collapse with an exact posterior: a latent that the likelihood does not identify keeps its prior.

Probabilistic PCA on data with one hidden dimension, fitted with two latents: at the best weights the likelihood does
not depend on one direction of z, and the exact posterior of that direction is the prior for every x. No encoder and no
bound is involved, so neither can be to blame. The setting is that of LIDVAE's code: 500 examples of 5 numbers, weights
with prior deviation 2, noise of deviation 0.1 in the data and 1 in the model. There, the posterior is sampled (HMC);
here, it is known. Two controls: data with two hidden dimensions, and weights that are held at full rank.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from uncollapse.protocols.exact.common import Progress, lines, settings_of, tell

__all__ = ["compute"]

SIZE, LATENT, SPREAD, IN_DATA, IN_MODEL = 5, 2, 2.0, 0.1, 1.0


class Plan(NamedTuple):
    """Number of examples, and of data sets with their own weights."""

    examples: int
    starts: int


SCALES = {"small": Plan(500, 3), "paper": Plan(500, 20)}


def compute(scale: str = "small", progress: Progress | None = None) -> dict[str, Any]:
    """Exact posteriors of fitted models, direction by direction.

    Arguments:
        scale: "small" or "paper", which differ in the number of data sets.
        progress: told in words what is going on.

    Returns:
        rows: one a way of fitting, the worst data set each: the KL to the prior of the posterior along the used and
            the other direction of z (principal directions of the fitted weights), mean and largest over the examples.
        quantities: `kl_unused` and `largest_kl_unused` (by maximum likelihood), `kl_used`, `kl_unused_map` (with the
            prior of the weights), `deviation_unused` (posterior standard deviation), `kl_second_two` (control with two
            hidden dimensions), `kl_second_held` (control with weights of full rank).
        figure: KL of every example along both directions, examples in order of the first.

    References:
        Wang, Blei, Cunningham, 2021, https://arxiv.org/abs/2301.00537, and its released code;
        Tipping, Bishop, 1999, https://doi.org/10.1111/1467-9868.00196, for the best weights.
    """
    plan = settings_of(scale, SCALES)
    rows, drawn = [], None
    for arm, (hidden, way) in ARMS.items():
        tell(progress, arm)
        found = []
        for seed in range(plan.starts):
            x = data(plan.examples, hidden, seed)
            found.append(posterior(WAYS[way](x, seed), x))
        rows.append({"arm": arm, "hidden": hidden, "latents": LATENT, **worst(found)})
        drawn = found[0] if drawn is None else drawn
    by = {row["arm"]: row for row in rows}
    first, *others = (by[arm] for arm in ARMS)
    quantities = {
        "kl_unused": first["kl_second"], "largest_kl_unused": first["largest_kl_second"], "kl_used": first["kl_first"],
        "deviation_unused": first["deviation_second"], "kl_unused_map": others[0]["kl_second"],
        "kl_second_two": others[1]["kl_second"], "kl_second_held": others[2]["kl_second"],
    }  # fmt: skip
    assert drawn is not None
    return {"rows": rows, "quantities": quantities, "figure": {"panels": [panel(drawn)]}}


def data(examples: int, hidden: int, seed: int) -> Tensor:
    """Centred data (N, 5) of so many hidden dimensions."""
    generator = torch.Generator().manual_seed(seed)
    weight = SPREAD * torch.randn(SIZE, hidden, generator=generator, dtype=torch.float64)
    z = torch.randn(examples, hidden, generator=generator, dtype=torch.float64)
    noise = torch.randn(examples, SIZE, generator=generator, dtype=torch.float64)
    x: Tensor = z @ weight.T + IN_DATA * noise
    return x - x.mean(0)


def trained(x: Tensor, seed: int, prior: bool = False) -> Tensor:
    """Weights (5, 2) of the largest evidence, or of the largest posterior with the prior of the weights, by L-BFGS."""
    covariance = x.T @ x / len(x)
    start = torch.Generator().manual_seed(seed + 1000)
    weight = torch.randn(SIZE, LATENT, generator=start, dtype=torch.float64).requires_grad_()
    optimiser = torch.optim.LBFGS(
        [weight], max_iter=100, history_size=20, line_search_fn="strong_wolfe", tolerance_grad=1e-12,
        tolerance_change=1e-16,
    )  # fmt: skip

    def closure() -> Tensor:
        optimiser.zero_grad()
        model = weight @ weight.T + IN_MODEL**2 * torch.eye(SIZE, dtype=torch.float64)
        value: Tensor = 0.5 * (torch.logdet(model) + torch.linalg.solve(model, covariance).trace())
        if prior:
            value = value + 0.5 * weight.square().sum() / SPREAD**2 / len(x)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    for _ in range(10):
        optimiser.step(closure)  # type: ignore[no-untyped-call]
    return weight.detach()


def held(x: Tensor, seed: int) -> Tensor:
    """Weights of full rank whatever the data: equal lengths along the first two principal directions."""
    values, vectors = torch.linalg.eigh(x.T @ x / len(x))
    weight: Tensor = vectors[:, -LATENT:] * values[-1].clamp(min=1).sqrt()
    return weight


WAYS = {"likelihood": trained, "prior": lambda x, seed: trained(x, seed, prior=True), "held": held}
ARMS = {
    "one hidden dimension, largest evidence": (1, "likelihood"),
    "one hidden dimension, prior on the weights": (1, "prior"),
    "two hidden dimensions, largest evidence": (2, "likelihood"),
    "one hidden dimension, weights held at full rank": (1, "held"),
}


class Posterior(NamedTuple):
    """Exact posteriors in the principal directions of the weights.

    Attributes:
        strength: (2,) singular values of the weights, largest first.
        deviation: (2,) posterior standard deviations.
        kl: (N, 2) KL to the prior, nats; the directions are independent of each other.
    """

    strength: Tensor
    deviation: Tensor
    kl: Tensor


def posterior(weight: Tensor, x: Tensor) -> Posterior:
    r"""The exact posterior $\mathcal N\big((I + W^\top W)^{-1} W^\top x, (I + W^\top W)^{-1}\big)$ at sigma = 1.

    With $W = U \operatorname{diag}(s) R^\top$ it factorises in the directions R: variance $1/(1 + s^2)$, mean
    $s\,u^\top x/(1 + s^2)$.
    """
    left, strength, _ = torch.linalg.svd(weight / IN_MODEL, full_matrices=False)
    variance = 1 / (1 + strength.square())
    mean = (x / IN_MODEL @ left) * strength * variance
    kl = 0.5 * (mean.square() + variance - 1 - variance.log())
    return Posterior(strength, variance.sqrt(), kl)


def worst(found: list[Posterior]) -> dict[str, float]:
    """The data set whose second direction says most, or, along the used direction, least."""
    second = max(found, key=lambda one: float(one.kl[:, 1].mean()))
    first = min(found, key=lambda one: float(one.kl[:, 0].mean()))
    return {
        "kl_first": float(first.kl[:, 0].mean()), "kl_second": float(second.kl[:, 1].mean()),
        "least_kl_second": min(float(one.kl[:, 1].mean()) for one in found),
        "largest_kl_second": max(float(one.kl[:, 1].max()) for one in found),
        "deviation_first": float(first.deviation[0]), "deviation_second": float(second.deviation[1]),
        "strength_first": float(first.strength[0]), "strength_second": float(second.strength[1]),
    }  # fmt: skip


def panel(one: Posterior) -> dict[str, Any]:
    """KL of every example along both directions."""
    order = one.kl[:, 0].argsort()
    names = ("the direction that is used", "the other direction")
    points = {name: list(enumerate(one.kl[order, i].tolist())) for i, name in enumerate(names)}
    return lines("exact posterior against prior", "example, in order of the first", "KL, nats", points)
