"""The effective weight of the KL: what the loss that was really minimised charges for a nat."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from uncollapse.codes import evaluation
from uncollapse.diagnosis.matching import Match
from uncollapse.diagnosis.slopes import Slopes, classic_slopes, positional, slopes
from uncollapse.diagnosis.stationarity import implied_beta
from uncollapse.distributions import Folded, is_bernoulli
from uncollapse.draw import Model
from uncollapse.errors import BadInput

__all__ = ["EffectiveBeta", "effective_beta", "family", "fixed_variance"]

FOLLOWS = 0.98  #: cosine from which a gradient counts as a multiple of another
AKIN = 0.5**0.5  #: cosine up to which more of a gradient lies off the KL's than along it, and no weight can be named
SIZES = (37, 41, 43, 31, 29, 23)  #: of the batch: one that is no other size of the model, so that averages can be told
UNKNOWN = "the weight of the KL cannot be read off this model alone"


@dataclass(frozen=True)
class EffectiveBeta:
    """What a nat of KL costs, in nats of log p(x|z).

    Attributes:
        beta: weight of the KL over that of log p(x|z), per example in nats, given `variance`; None where unknown.
        reading: the likely reason for its size, in words.
        source: "loss", "declared", "implied" (by a trained model) or "unknown".
        likelihood: the family whose log density the loss follows, or None.
        noise: beta times the variance of a Gaussian likelihood, which is what decides in the end; else None.
        variance: that variance, from the model's own likelihood, or 1 where the loss is all that is known.
        kl_weight: weight of the KL in the loss, summed over the batch, times the size of the batch.
        likelihood_weight: the same for log p(x|z).
        kl_cosine: of the loss's gradient by the encoder's output to that of the KL; 0 without a KL.
        likelihood_cosine: of its gradient by the decoder's output to that of -log p(x|z).
        floored: whether a small KL costs less than a large one, as free bits have it.
        spread: of an implied beta over the latents, as a standard error; else None.
    """

    beta: float | None
    reading: str
    source: str
    likelihood: str | None = None
    noise: float | None = None
    variance: float | None = None
    kl_weight: float | None = None
    likelihood_weight: float | None = None
    kl_cosine: float | None = None
    likelihood_cosine: float | None = None
    floored: bool = False
    spread: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(self).items()}


def effective_beta(
    model: Model,
    x: Tensor,
    loss: Callable[..., Any] | None = None,
    weight: float | None = None,
    native: Any = None,
    seed: int = 0,
    assumed: bool = False,
) -> EffectiveBeta:
    r"""Measure the weight of the KL in the loss of a model.

    $\beta = w_k / w_p$ where the loss is $w_k \sum_i \mathrm{KL}_i - w_p \sum_i \log p(x_i|z_i)$.
    The encoder's and the decoder's outputs are held at values of ours, so that the gradient by the former is that of
    the KL term alone, and both weights follow by least squares. Without a loss the declared weight counts; without
    that, what a trained model implies (`implied_beta`). The model, its gradients, its training flags and torch's
    random state are left as they were.

    Arguments:
        model: anything with `posterior`, `likelihood` and `prior`.
        x: (B, *X), one batch; at most 43 examples are used.
        loss: (native, x) -> scalar, or (x_hat, x, mean, log_variance) -> scalar, told apart by the number of
            arguments that it requires.
        weight: the declared weight of the KL.
        native: what `loss` takes as its model; `model` if None.
        seed: of everything random.
        assumed: whether the likelihood is a guess, and says nothing about the loss.

    Raises:
        BadInput, Unsupported: when the loss fails or returns no tensor, or its parts cannot be told apart.

    References:
        Higgins et al., 2017, https://openreview.net/forum?id=Sy2fzU9gl, eq. 4.

    Example:
        >>> loss = lambda x_hat, x, m, v: (x_hat - x).square().mean() - 0.5 * (1 + v - m**2 - v.exp()).sum(1).mean()
        >>> model = uncollapse.VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4)
        >>> found = effective_beta(model, torch.rand(64, 16), loss)
        >>> round(found.beta, 3), found.reading
        (8.0, 'reconstruction averaged over 16 pixels')
    """
    native = model if native is None else native
    if weight is not None and not weight >= 0:
        raise BadInput(f"the weight of the KL should be a number of at least 0, got {weight}")
    with evaluation(native, seed), torch.inference_mode(False), torch.enable_grad():
        if loss is None:
            return declared(model, x, weight) if weight is not None else implied(model, x, seed)
        latent = model.posterior(x[:2]).event_shape[-1]
        x = x[: batch_size(x, latent)].detach().clone()
        if positional(loss) == 4:
            return read(classic_slopes(loss, x, latent), x, latent, None)
        px = None if assumed else model.likelihood(mean_code(model, x))
        return read(slopes(loss, model, native, x, px is not None), x, latent, px)


def batch_size(x: Tensor, latent: int) -> int:
    """How many examples to use, such that the number is not also that of latents or pixels."""
    taken = {latent, x[0].numel(), *x.shape[1:]}
    return next((size for size in SIZES if size not in taken and size <= len(x)), len(x))


def read(found: Slopes, x: Tensor, latent: int, px: Distribution | None) -> EffectiveBeta:
    """Weights and words from what the gradients say."""
    best, name, variance = chosen(found, px)
    kl, near, count = found.far, found.near, len(x)
    floored = kl.cosine >= FOLLOWS and near.weight + 3 * (near.error + kl.error) < 0.9 * kl.weight
    known = best.cosine >= FOLLOWS and best.weight > 0
    beta = kl.weight / best.weight if known and (kl.cosine == 0 or kl.cosine > AKIN) else None
    noisy = name == "gaussian" and beta is not None
    return EffectiveBeta(
        beta, words(found, best, (count, x[0].numel(), latent), name, floored), "loss", name if known else None,
        (beta or 0.0) * (variance or 1.0) if noisy else None, variance if noisy else None, kl.weight * count,
        best.weight * count, kl.cosine, best.cosine, floored,
    )  # fmt: skip


def words(found: Slopes, best: Match, sizes: tuple[int, int, int], name: str, floored: bool) -> str:
    """The likely reason, with what does not follow the KL or any likelihood."""
    kl = found.far
    if best.cosine < FOLLOWS or best.weight <= 0:
        return (
            "the loss follows no likelihood that is known: look whether it is NaN or detached, and whether its "
            "arguments come as (x_hat, x, mean, log_variance)"
        )
    if kl.cosine < -AKIN:
        return "the loss rewards a larger KL here (a capacity that is not yet met)"
    if kl.cosine != 0 and kl.cosine < FOLLOWS:
        return f"the loss charges for the latents, but not by their KL (cosine {kl.cosine:.2f})"
    tail = "; a small KL is charged less (free bits or a capacity)" if floored else ""
    return reading(kl, best, *sizes, name) + tail


def chosen(found: Slopes, px: Distribution | None) -> tuple[Match, str, float | None]:
    """What stands for log p(x|z): the model's own where the loss follows it, else the best family; its name; variance.

    A Gaussian of unknown variance is one of variance 1.
    """
    best = max(found.families.values(), key=lambda one: one.cosine, default=Match("none", 0.0, 0.0))
    if found.own is None or px is None or found.own.cosine < best.cosine - 1e-3:
        return best, best.name, 1.0
    return found.own, family(px), fixed_variance(px)


def reading(kl: Match, best: Match, count: int, pixels: int, latent: int, name: str) -> str:
    """The likely reason for the two weights, in words."""
    if kl.cosine == 0:
        return "no KL term"
    shares = {1: "summed over the batch", count: "averaged over the batch"}
    twice = (1.0, 2.0) if name == "gaussian" else (1.0,)
    over = divisor(best.weight, twice, (count, 1, count * pixels, pixels))
    under = divisor(kl.weight, (1.0,), (count, 1, count * latent, latent, count * pixels, pixels))
    if over is None or under is None:
        part = averages(over, count, pixels, latent)
        times = kl.weight * (over if over in shares else count)
        return "; ".join([*part, f"KL weighs {times:.3g} per example"])
    if over == under:
        return f"both {shares[over]}: fine" if over in shares else "both averaged over batch and pixels: fine"
    parts = averages(over, count, pixels, latent)
    if under in (count * latent, latent):
        parts.append(f"KL averaged over {latent} latents")
    elif under in (count * pixels, pixels):
        parts.append(f"KL averaged over {pixels} pixels")
    return ", ".join(parts) or f"reconstruction {shares[over]}, KL {shares[under]}"


def averages(over: int | None, count: int, pixels: int, latent: int) -> list[str]:
    """What to say of a reconstruction that was divided by this number."""
    return [f"reconstruction averaged over {pixels} pixels"] if over in (count * pixels, pixels) and pixels > 1 else []


def divisor(weight: float, factors: tuple[float, ...], options: tuple[int, ...]) -> int | None:
    """The number by which something was divided, if it is one of these."""
    for option in options:
        if any(abs(weight * option / factor - 1) < 0.01 for factor in factors):
            return option
    return None


def declared(model: Model, x: Tensor, weight: float) -> EffectiveBeta:
    """What the declared weight means for the model's own likelihood."""
    with torch.no_grad():
        px = model.likelihood(mean_code(model, x[:64]))
    variance, name = fixed_variance(px), family(px)
    noise = weight * variance if variance is not None else None
    words = "no KL term" if weight == 0 else f"KL weighs {weight:.3g} as declared"
    return EffectiveBeta(weight, words, "declared", name, noise, variance, weight, 1.0)


def implied(model: Model, x: Tensor, seed: int) -> EffectiveBeta:
    """What a trained model implies."""
    try:
        beta, spread = implied_beta(model, x, seed)
        px = model.likelihood(mean_code(model, x[:64]))
    except (RuntimeError, ValueError, NotImplementedError):
        return EffectiveBeta(None, UNKNOWN, "unknown")
    variance = fixed_variance(px)
    if beta is None:
        return EffectiveBeta(None, UNKNOWN, "unknown", family(px), variance=variance, spread=spread)
    noise = beta * variance if variance is not None else None
    words = f"a KL weight of about {beta:.2g} would hold the posteriors where they are"
    return EffectiveBeta(beta, words, "implied", family(px), noise, variance, spread=spread)


def mean_code(model: Model, x: Tensor) -> Tensor:
    """The posterior means (B, D) in the precision of x, as the decoder takes them."""
    z = model.posterior(x).mean
    return z.to(x.dtype) if x.is_floating_point() else z


def base_of(px: Distribution) -> Distribution:
    """The distribution of single numbers inside."""
    while isinstance(px, Folded | Independent):
        px = px.base if isinstance(px, Folded) else px.base_dist
    return px


def family(px: Distribution) -> str:
    """The name of a likelihood: "bernoulli", "gaussian" or that of its class."""
    base = base_of(px)
    if isinstance(base, Normal):
        return "gaussian"
    try:
        return "bernoulli" if is_bernoulli(px) else type(base).__name__.lower()
    except NotImplementedError:
        return type(base).__name__.lower()


def fixed_variance(px: Distribution) -> float | None:
    """The variance of a Gaussian likelihood; its mean over pixels and examples; None for other families."""
    base = base_of(px)
    return float(base.variance.detach().double().mean()) if isinstance(base, Normal) else None
