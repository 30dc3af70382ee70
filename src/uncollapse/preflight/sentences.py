"""Each check of a pre-flight in words, with the lines that would set it right."""

import math
from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution

from uncollapse.diagnosis.eigenvalues import Spectrum
from uncollapse.diagnosis.weight import EffectiveBeta
from uncollapse.distributions import is_bernoulli, kl_per_dimension, standard_normal
from uncollapse.preflight.outcome import Check
from uncollapse.preflight.trial import Trial

__all__ = ["costs", "heads", "inputs", "latents", "starts", "units", "weighed"]

COSTS = {
    "bernoulli": "F.binary_cross_entropy_with_logits(logits, x, reduction='none')",
    "gaussian": "0.5 * (x_hat - x).square() / variance",
}
SUM = (
    "reconstruction = ({cost}).flatten(1).sum(1)\n"
    "kl = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(1)\n"
    "loss = (reconstruction + kl).mean()"
)


def inputs(x: Tensor, px: Distribution | None) -> Check:
    """The data and their range."""
    values = x.detach().float()
    if not values.isfinite().all():
        return Check("data", "bad", "There are NaN or infinite values among the first examples.", "x = x[finite]")
    low, high = float(values.min()), float(values.max())
    said = f"{tuple(x.shape[1:])} an example, values from {low:.3g} to {high:.3g}"
    try:
        binary = px is not None and is_bernoulli(px)
    except NotImplementedError:
        binary = False
    if binary and (low < 0 or high > 1):
        fix = "x = x / 255" if low >= 0 and high <= 255 else "x = (x - x.min()) / (x.max() - x.min())"
        return Check("data", "bad", f"{said}: a Bernoulli likelihood needs values between 0 and 1.", fix)
    if high - low > 20:
        return Check("data", "warning", f"{said}: scale them, or the first steps are huge.", "x = x / x.abs().max()")
    return Check("data", "good", f"{said}.")


def starts(q: Distribution, px: Distribution | None, x: Tensor) -> list[Check]:
    """The first posteriors and likelihoods."""
    mean, scale = q.mean.detach().float(), q.variance.detach().float().sqrt()
    kl = kl_per_dimension(q, standard_normal(q.event_shape[-1], mean.device))
    rate = float(kl.detach().sum(1).mean()) if kl is not None else math.nan
    said = f"scales {float(scale.min()):.3g} to {float(scale.max()):.3g}, means up to {float(mean.abs().max()):.3g}"
    wild = not mean.isfinite().all() or not scale.isfinite().all() or rate > 1e4
    odd = scale.min() < 1e-2 or scale.max() > 10 or rate > 10 * mean.shape[1]
    state = "bad" if wild else "warning" if odd else "good"
    fix = "nn.init.zeros_(encoder.head.weight); nn.init.zeros_(encoder.head.bias)" if state != "good" else ""
    found = [Check("first posteriors", state, f"{said}, KL {rate:.3g} nats.", fix)]
    if px is None:
        return [*found, Check("first likelihood", "unknown", "There is no decoder that could be asked.")]
    try:
        cost = -float(px.log_prob(x).float().mean())
    except (ValueError, NotImplementedError):
        return [*found, Check("first likelihood", "unknown", "The likelihood gives these examples no probability.")]
    finite = math.isfinite(cost)
    return [*found, Check("first likelihood", "good" if finite else "bad", f"-log p(x|z) is {cost:.4g} nats.")]


def weighed(effective: EffectiveBeta) -> Check:
    """The weight of the KL."""
    if effective.beta is None:
        return Check("KL weight", "unknown", f"{effective.reading}.")
    said = f"beta = {effective.beta:.3g}: {effective.reading}."
    fix = SUM.format(cost=COSTS.get(effective.likelihood or "", "-px.log_prob(x)"))
    averaged = "averaged over" in effective.reading and "fine" not in effective.reading
    if effective.beta == 0:
        return Check("KL weight", "bad", f"{said} This is an autoencoder: its latents cannot be sampled.", fix)
    if averaged and not 0.5 <= effective.beta <= 2:
        return Check("KL weight", "bad", said, fix)
    return Check("KL weight", "good" if 0.1 <= effective.beta <= 10 else "warning", said)


def latents(effective: EffectiveBeta, spectrum: Spectrum | None, latent: int) -> Check:
    """How many latents can stay active."""
    if spectrum is None:
        said = "There is an eigenvalue rule for Bernoulli likelihoods and Gaussian ones of a fixed deviation only."
        return Check("latents", "unknown", said)
    now, fair = min(spectrum.allowed, latent), min(spectrum.at(1.0), latent)
    best = spectrum.supported(latent)
    sign = "beta" if spectrum.rule != "gaussian" else "beta s²"
    said = f"At {sign} = {spectrum.threshold:.3g} at most {now} of {latent} latents can stay active"
    if spectrum.rule == "bernoulli":
        said += " (linear rule; a nonlinear decoder may keep more)"
    state = "bad" if now == 0 else "warning" if 2 * now < min(latent, best) else "good"
    if state == "good":
        return Check("latents", state, f"{said}.")
    if fair > now:
        return Check("latents", state, f"{said}; at beta = 1 it would be {fair}.", "Beta(1.0)  # the weight of the KL")
    if spectrum.rule == "gaussian" and best > now:
        variance = spectrum.calibrated(best)
        fix = f"read_x = FixedGaussian({math.sqrt(variance):.3g})  # standard deviation"
        return Check("latents", state, f"{said}; with a decoder variance of {variance:.3g}, {best}.", fix)
    return Check("latents", state, f"{said}; the data have no further directions.", f"latent = {max(now, 1)}")


def heads(trial: Trial, optimizer: Any, model: nn.Module) -> Check:
    """Whether every weight can learn."""
    sides = {"encoder": trial.encoder, "decoder": trial.decoder}
    for side, names in sides.items():
        if names and names <= trial.frozen | trial.still:
            why = "frozen (requires_grad is off)" if names <= trial.frozen else "without gradient"
            return Check("learnable", "bad", f"All weights of the {side} are {why}.", "model.requires_grad_(True)")
    if optimizer is not None:
        owned = {id(p) for group in optimizer.param_groups for p in group["params"]}
        outside = {n for n, p in model.named_parameters() if id(p) not in owned} & (trial.encoder | trial.decoder)
        for side, names in sides.items():
            if outside & names:
                fix = f"optimizer = {type(optimizer).__name__}(model.parameters(), ...)"
                said = f"{len(outside & names)} of {len(names)} weights of the {side} are not in the optimiser"
                return Check("learnable", "bad", f"{said} ({listed(outside & names)}).", fix)
    stuck = (trial.still | trial.frozen) & (trial.encoder | trial.decoder)
    if stuck:
        return Check("learnable", "warning", f"{len(stuck)} weights get no gradient ({listed(stuck)}).")
    return Check("learnable", "good", f"All {len(trial.encoder | trial.decoder)} weights of both sides get a gradient.")


def listed(names: Any) -> str:
    """The first names of a set."""
    ordered = sorted(names)
    return ", ".join(ordered[:3]) + (", ..." if len(ordered) > 3 else "")


def units(trial: Trial) -> Check:
    """ReLUs that are dead from the start."""
    if not trial.dead:
        return Check("units", "good", "There are no ReLU modules that could be dead.")
    name, worst = max(trial.dead.items(), key=lambda one: one[1])
    state = "bad" if worst == 1 else "warning" if worst > 0.5 else "good"
    fix = "nn.init.zeros_(layer.bias)  # of the layer before" if state != "good" else ""
    return Check("units", state, f"Up to {worst:.0%} of the ReLU units are zero for the whole batch ({name}).", fix)


def costs(trial: Trial, batches: int | None, epochs: int | None, size: int) -> list[Check]:
    """Memory and time."""
    memory = {name: readable(value) for name, value in trial.memory.items()}
    parts = ", ".join(f"{name} {value}" for name, value in memory.items() if name != "peak")
    found = [Check("memory", "good", f"About {memory['peak']} ({parts}), B = {size}, without the framework's own.")]
    said = f"{trial.seconds * 1000:.3g} ms a step"
    if batches is not None:
        said += f", {spoken(trial.seconds * batches)} an epoch of {batches:,} batches"
        said += f", {spoken(trial.seconds * batches * epochs)} for {epochs}" if epochs else ""
    return [*found, Check("time", "good", f"{said}, without loading the data.")]


def readable(size: float) -> str:
    """Bytes in a unit that fits."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.3g} {unit}"
        size /= 1024
    return ""


def spoken(seconds: float) -> str:
    """Seconds in a unit that fits."""
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.2g} {unit}"
    return f"{seconds:.2g} s"
