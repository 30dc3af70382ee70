r"""Does latent reconstruction move the local constants of the decoder, and do these bound the KL from below?

The set-up is that of LR-VAE's two-dimensional mixture: eight Gaussians of deviation 0.1 with centres in [0, 16]² (their
weights are ours: each half as heavy as the one before, because those of the paper's figure are not public), D = 2,
encoder 64-128-64 and decoder mirrored with batch normalisation and LeakyReLU, squared error with weight 1, codes of the
posterior cut off, gradients to the decoder and the second encoder pass. Changed, as they should be: plain linear heads,
and the second pass is kept out of the running statistics. A flow in place of the decoder, which is injective whatever
its weights, shows what reconstruction adds where injectivity is had for nothing.

Theorem 2.3 of the paper says that the KL of a Laplace posterior stays above a constant where the decoder is locally
bi-Lipschitz; its constants are not public. A beta-VAE's Laplace posterior has precision $I + J^\top J/(\beta s^2)$, and
with $\lambda$ the eigenvalues of $J^\top J/(\beta s^2)$ its KL is
$\tfrac12\sum_d\big[\log(1 + \lambda_d) - \tfrac{\lambda_d}{1 + \lambda_d}\big] + \tfrac12|\mu|^2$. The first part is
what a decoder guarantees at that place (`guaranteed`), and the same with the smallest singular value anywhere for all
directions is what a bi-Lipschitz constant guarantees everywhere (`bi_lipschitz`).
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from uncollapse.codes import Codes
from uncollapse.distributions import FixedGaussian
from uncollapse.draw import VAE
from uncollapse.errors import NonFinite
from uncollapse.fit import fit
from uncollapse.metrics import legacy, lipschitz, local_collapse, mutual_information
from uncollapse.nets import FlowDecoder
from uncollapse.nets.residual import normalised
from uncollapse.objective import Objective
from uncollapse.protocols.exact.common import Progress, lines, settings_of, tell
from uncollapse.remedies import Beta, LatentReconstruction

__all__ = ["compute", "mixture"]

NOISE, COMPONENTS, WIDTHS, LATENT = 0.5, 8, (64, 128, 64), 2


class Plan(NamedTuple):
    """Examples, batches of training, seeds, and the sweep; `rows` examples are looked at one by one."""

    examples: int
    batches: int
    seeds: int
    betas: tuple[float, ...]
    alphas: tuple[float, ...]
    rows: int


SCALES = {
    "small": Plan(4000, 1000, 2, (0.1, 0.6), (0.0, 0.1, 0.4), 400),
    "paper": Plan(10000, 39000, 4, (0.1, 0.2, 0.3, 0.4, 0.5, 0.6), (0.0, 0.1, 0.2, 0.3, 0.4), 2000),
}
DECODERS = ("mlp", "flow")
GAINS = ("smallest", "median_smallest", "stretch", "kl")


def compute(scale: str = "small", progress: Progress | None = None) -> dict[str, Any]:
    """Train the sweep and measure.

    Arguments:
        scale: "small" or "paper"; the latter is the published budget of 1,000 epochs and four seeds.
        progress: told in words what is going on.

    Returns:
        rows: one a decoder, a beta and an alpha, medians over the seeds; `share_above_guaranteed` and its like are
            shares of the inputs whose KL is at least that; `collapsed` and `collapsed_rare` are shares of collapsed
            inputs, of all and of the three rarest components.
        quantities: `smallest_mlp_gain` and `smallest_flow_gain` (smallest singular value anywhere at the largest alpha
            over that without, median over beta), the same of `median_smallest` (median over the codes), `stretch`
            (L(z)) and `kl`; `share_guaranteed` (least share of inputs above the guaranteed KL in any row),
            `share_bi_lipschitz`, `share_epsilon`, `correlation` (least rank correlation of KL and epsilon(x) in a
            row); `collapsed_mlp`, `collapsed_flow` (largest share of collapsed inputs without reconstruction),
            `collapsed_mlp_alpha`, `collapsed_flow_alpha` (with most of it); `broken`, runs that met a number that is
            not finite and were measured at the weights before it.
        figure: smallest singular value, L(z), and KL against alpha.

    References:
        Song, Kim, Lee, 2025, https://arxiv.org/abs/2508.12530, and its released code.
    """
    plan = settings_of(scale, SCALES)
    rows = []
    for kind in DECODERS:
        for beta in plan.betas:
            for alpha in plan.alphas:
                tell(progress, f"{kind} decoder, beta {beta:g}, alpha {alpha:g}")
                found = [measured(kind, beta, alpha, seed, plan) for seed in range(42, 42 + plan.seeds)]
                rows.append(
                    {"arm": arm(kind, beta, alpha), "decoder": kind, "beta": beta, "alpha": alpha, **mid(found)}
                )
    return {"rows": rows, "quantities": quantities(rows, plan), "figure": {"panels": panels(rows, plan)}}


def arm(kind: str, beta: float, alpha: float) -> str:
    """The name of a row."""
    return f"{kind}, beta {beta:g}, alpha {alpha:g}"


def mixture(examples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Points (N, 2) and their components (N,), the last of which are rare."""
    generator = torch.Generator().manual_seed(seed)
    centres = 16 * torch.rand(COMPONENTS, 2, generator=generator)
    weights = 0.5 ** torch.arange(COMPONENTS, dtype=torch.float32)
    parts = torch.multinomial(weights, examples, replacement=True, generator=generator)
    return centres[parts] + 0.1 * torch.randn(examples, 2, generator=generator), parts


def build(kind: str, seed: int) -> VAE:
    """A model with plain linear heads."""
    torch.manual_seed(seed)
    encoder = nn.Sequential(*normalised([2, *WIDTHS]), nn.Linear(WIDTHS[-1], 2 * LATENT))
    plain = nn.Sequential(*normalised([LATENT, *reversed(WIDTHS)]), nn.Linear(WIDTHS[0], 2))
    decoder = plain if kind == "mlp" else FlowDecoder((2,), LATENT, couplings=6)
    return VAE(encoder, decoder, LATENT, read_x=FixedGaussian(math.sqrt(NOISE)))


def measured(kind: str, beta: float, alpha: float, seed: int, plan: Plan) -> dict[str, float]:
    """One training run, and its constants."""
    x, parts = mixture(plan.examples, seed)
    with torch.random.fork_rng():
        model = build(kind, seed)
        remedies: list[Any] = [Beta(beta)]
        if alpha:
            remedies.append(LatentReconstruction(alpha, source="posterior", share=1.0))
        broken = trained(model, x, Objective(remedies), plan.batches, seed)
    return {**constants(model, x, parts, beta, plan.rows, seed), "broken": float(broken)}


def trained(model: VAE, x: Tensor, objective: Objective, batches: int, seed: int) -> bool:
    """Train in place; whether a number that is not finite ended it."""
    try:
        fit(model, (x, x), objective, batches=batches, batch_size=256, lr=1e-3, seed=seed, keep="last",
            validate_every=batches, device="cpu")  # fmt: skip
    except NonFinite:
        return True
    return False


def constants(model: VAE, x: Tensor, parts: Tensor, beta: float, number: int, seed: int) -> dict[str, float]:
    """Local constants, what they guarantee, and what the codes hold."""
    codes = Codes.of(model, x, seed=seed)
    rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:number]
    rare = (parts >= COMPONENTS - 3).nonzero().flatten()[: number // 2]
    one, few = (local_collapse(model, codes, at, seed=seed) for at in (rows, rare))
    values = one.spectrum / beta  # the spectrum is that of J'J / s²
    epsilon = 0.5 * values.log1p().sum(1)
    guaranteed = 0.5 * (values.log1p() - values / (1 + values)).sum(1)
    stretch = lipschitz(model, codes, examples=number, seed=seed)
    least = float(stretch.smallest) ** 2 / (beta * NOISE)
    everywhere = 0.5 * LATENT * (math.log1p(least) - least / (1 + least))
    return {
        "smallest": float(stretch.smallest), "largest": float(stretch.largest),
        "median_smallest": float(stretch.singular[:, -1].median()),
        "stretch": float(legacy.pairwise_lipschitz(model, codes, seed=seed)),
        "kl": float(codes.kl.sum(1).mean()), "kl_train": kl_in_training(model, x),
        "information": float(mutual_information(codes).lower), "epsilon": float(epsilon.mean()),
        "guaranteed": float(guaranteed.mean()), "bi_lipschitz": everywhere,
        "share_above_guaranteed": share(one.kl >= guaranteed), "share_above_bi_lipschitz": share(one.kl >= everywhere),
        "share_above_epsilon": share(one.kl >= epsilon), "correlation": ranks(one.kl, epsilon),
        "collapsed": float(one.collapsed), "collapsed_rare": float(few.collapsed),
    }  # fmt: skip


def kl_in_training(model: VAE, x: Tensor) -> float:
    """Mean KL with the statistics of batches of 256, as training sees it; running statistics stay as they are."""
    twin = build("mlp", 0) if isinstance(model.decoder, nn.Sequential) else build("flow", 0)
    twin.load_state_dict(model.state_dict())
    twin.train()
    with torch.no_grad():
        parts = [twin(batch).kl.sum(1) for batch in torch.split(x, 256) if len(batch) > 1]
    return float(torch.cat(parts).mean())


def share(mask: Tensor) -> float:
    """The share that is true."""
    return float(mask.double().mean())


def ranks(a: Tensor, b: Tensor) -> float:
    """Spearman's rank correlation; 0 where one of them does not vary."""
    both = torch.stack([one.argsort().argsort().double() for one in (a, b)])
    return 0.0 if a.std() == 0 or b.std() == 0 else float(torch.corrcoef(both)[0, 1])


def mid(found: list[dict[str, float]]) -> dict[str, float]:
    """Medians over the seeds, with least and most of the KL."""
    table = {key: torch.tensor([one[key] for one in found], dtype=torch.float64) for key in found[0]}
    middle = {key: float(values.quantile(0.5)) for key, values in table.items()}
    return {**middle, "kl_least": float(table["kl"].min()), "kl_most": float(table["kl"].max()),
            "broken": float(table["broken"].sum())}  # fmt: skip


def quantities(rows: list[dict[str, Any]], plan: Plan) -> dict[str, float]:
    """What claims refer to."""
    by = {row["arm"]: row for row in rows}
    without, most = plan.alphas[0], plan.alphas[-1]

    def gain(kind: str, key: str) -> float:
        ratios = [by[arm(kind, b, most)][key] / max(by[arm(kind, b, without)][key], 1e-12) for b in plan.betas]
        return float(torch.tensor(ratios, dtype=torch.float64).quantile(0.5))

    def top(kind: str, alpha: float) -> float:
        return max(float(by[arm(kind, beta, alpha)]["collapsed"]) for beta in plan.betas)

    found = {f"{key}_{kind}_gain": gain(kind, key) for key in GAINS for kind in DECODERS}
    found |= {f"share_{key}": min(row[f"share_above_{key}"] for row in rows)
              for key in ("guaranteed", "bi_lipschitz", "epsilon")}  # fmt: skip
    found |= {f"collapsed_{kind}": top(kind, without) for kind in DECODERS}
    found |= {f"collapsed_{kind}_alpha": top(kind, most) for kind in DECODERS}
    broken = sum(row["broken"] for row in rows)
    return found | {"correlation": min(row["correlation"] for row in rows), "broken": broken}


def panels(rows: list[dict[str, Any]], plan: Plan) -> list[dict[str, Any]]:
    """Constants and KL against alpha."""
    shown = (("smallest", "smallest singular value"), ("stretch", "L(z), their formula"), ("kl", "KL, nats"),
             ("guaranteed", "KL that the decoder guarantees, nats"))  # fmt: skip
    found = []
    for key, title in shown:
        series = {
            f"{kind}, beta {beta:g}": [[r["alpha"], r[key]] for r in rows if (r["decoder"], r["beta"]) == (kind, beta)]
            for kind in DECODERS
            for beta in plan.betas
        }
        found.append(lines(title, "alpha", "", series, log_y=True))
    return found
