"""Causes in the objective: the weight of the KL, the noise of the decoder, more latents than the data can fill."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from uncollapse.codes import evaluation
from uncollapse.diagnosis.eigenvalues import Spectrum, eigenvalue_rule
from uncollapse.diagnosis.finding import Finding, clear, found, untested
from uncollapse.diagnosis.subject import Evidence, Subject
from uncollapse.diagnosis.weight import EffectiveBeta, base_of, effective_beta, family
from uncollapse.draw import Model, draw
from uncollapse.errors import UncollapseError
from uncollapse.objective import Objective
from uncollapse.verdict import NOTHING

__all__ = [
    "Limits",
    "charged",
    "limits",
    "noise_too_large",
    "ruled",
    "too_many_latents",
    "weight_too_large",
    "weight_too_small",
]

HEAVY, LIGHT = 1.5, 0.5  #: weights beyond which the KL is dear, and cheap
DROWNED = 2.0  #: times the best noise, beyond which a decoder's noise is too large
MOST = 0.5  #: share of the empty latents that a cause must account for
PASSES = 24  #: of the decoder for one example, forth and back, behind an implied weight
ASTRAY = 1.0  #: nats of mismatch with the prior from which a light KL shows; a hole takes more
BLIND = " Pass the loss (loss=), or its weight of the KL (weight=)."


class Limits(NamedTuple):
    """What the objective and the data allow, beside what is there.

    Attributes:
        effective: the weight of the KL.
        spectrum: of the data against the likelihood; None where there is no rule for it.
        carrying: latents that carry at least 0.1 nats.
        latent: D.
    """

    effective: EffectiveBeta
    spectrum: Spectrum | None
    carrying: int
    latent: int

    @property
    def dead(self) -> int:
        """Latents that carry less."""
        return self.latent - self.carrying

    @property
    def supported(self) -> int:
        """Latents that the data could fill, were the noise at its best."""
        return self.spectrum.supported(self.latent) if self.spectrum else self.latent

    def at(self, beta: float) -> int:
        """Latents that can be active at this weight, at most D."""
        return min(self.spectrum.pooled(beta), self.latent) if self.spectrum else self.latent

    def worth(self, beta: float) -> int:
        """Latents that can carry 0.1 nats at this weight: half the log of eigenvalue over beta times noise is that."""
        return self.at(beta * math.exp(2 * NOTHING))

    def explains(self, limit: int) -> bool:
        """Whether a limit is about where the latents stopped: nothing below it is missing but a third."""
        return limit - self.carrying <= max(1, limit // 3)


def limits(subject: Subject, evidence: Evidence) -> Limits:
    """Measure the weight and the spectrum once for all tests of this file."""
    if "limits" not in subject.memory:
        carrying = int((evidence.kl.information_per_dim >= NOTHING).sum())
        effective = charged(subject)
        spectrum = rule(subject, effective)
        subject.memory["limits"] = Limits(effective, spectrum, carrying, len(evidence.units.spectrum))
    kept: Limits = subject.memory["limits"]
    return kept


def charged(subject: Subject) -> EffectiveBeta:
    """The weight of the KL, measured once."""
    if "weight" not in subject.memory:
        subject.memory["weight"] = measured(subject)
    kept: EffectiveBeta = subject.memory["weight"]
    return kept


def measured(subject: Subject) -> EffectiveBeta:
    """The weight of the KL from the loss, the objective, the declared weight or the model itself."""
    loss, native = subject.loss or subject.adapted.loss, subject.native
    if loss is None and subject.objective is not None:
        loss, native = plain(subject.objective), subject.model

    x = subject.some(max(64, subject.afford(len(subject.x), PASSES)))

    def ask(using: Any) -> EffectiveBeta:
        assumed = subject.adapted.assumed
        return effective_beta(subject.model, x, using, subject.weight, native, subject.seed, assumed)

    try:
        return ask(loss)
    except (UncollapseError, RuntimeError, ValueError, NotImplementedError) as error:
        if subject.weight is None:
            return EffectiveBeta(None, str(error).splitlines()[0], "unknown")
        return ask(None)


def plain(objective: Objective) -> Callable[[Model, Tensor], Tensor]:
    """What an objective charges for distortion and rate, without the terms that its remedies add."""

    def loss(model: Model, x: Tensor) -> Tensor:
        one = draw(model, x)
        return (objective.rate(one.kl).sum(1) - one.log_px.mean(0)).mean()

    return loss


def rule(subject: Subject, effective: EffectiveBeta) -> Spectrum | None:
    """The eigenvalue rule at the codes of the sample."""
    if not subject.adapted.decodes:
        return None
    try:
        with evaluation(subject.model, subject.seed):
            px = subject.model.likelihood(subject.z[:256])
    except (UncollapseError, RuntimeError, ValueError, NotImplementedError):
        return None
    return ruled(subject.x, px, effective, subject.adapted.assumed)


def ruled(x: Tensor, px: Distribution, effective: EffectiveBeta, assumed: bool) -> Spectrum | None:
    """The eigenvalue rule for the likelihood that the loss follows, or else for the model's own; None without a rule.

    Arguments:
        x: (M, *X), the data.
        px: the model's likelihood.
        effective: the weight of the KL; beta counts as 1 where it is not known.
        assumed: whether px is a guess of an adapter.
    """
    if not x.is_floating_point():
        return None
    own = effective.source != "loss" or (effective.likelihood == family(px) and not assumed)
    followed: dict[str | None, Any] = {"bernoulli": "bernoulli", "gaussian": float(effective.variance or 1.0)}
    given = px if own else followed.get(effective.likelihood, px)
    try:
        return eigenvalue_rule(x, given, 1.0 if effective.beta is None else effective.beta)
    except (UncollapseError, RuntimeError, ValueError, NotImplementedError):
        return None


def numbers(one: Limits) -> dict[str, float]:
    """The plain values behind every sentence."""
    values = {"beta": one.effective.beta, "noise": one.effective.noise, "carrying": one.carrying, "latents": one.latent}
    if one.spectrum is not None:
        values |= {
            "allowed": one.at(one.spectrum.beta), "allowed_at_1": one.at(1.0), "supported": one.supported,
            "threshold": one.spectrum.threshold, "largest_eigenvalue": float(one.spectrum.eigenvalues[0]),
        }  # fmt: skip
    return {key: float(value) for key, value in values.items() if value is not None}


def unread(effective: EffectiveBeta) -> str:
    """Why there is no weight, and what would help."""
    said = f"{effective.reading[:1].upper()}{effective.reading[1:]}."
    return said if effective.source == "loss" else said + BLIND


def weight_too_large(subject: Subject, evidence: Evidence) -> Finding:
    """Latents died that would live at beta = 1."""
    cause, one = "KL weight too large", limits(subject, evidence)
    beta = one.effective.beta
    if beta is None:
        return untested(cause, unread(one.effective))
    said = f"A nat of KL costs {beta:.3g} nats of log p(x|z) ({one.effective.reading})"
    if beta < HEAVY or one.dead == 0 or evidence.verdict.word == "off-prior collapse":
        return clear(cause, f"{said}; {one.carrying} of {one.latent} latents carry information.", **numbers(one))
    if one.spectrum is None:
        if one.effective.source == "implied":
            return clear(cause, f"{said}, as far as the model shows it.", **numbers(one))
        return found(cause, f"{said}; {one.dead} of {one.latent} latents are dead.", 0.5, **numbers(one))
    now, fair = one.worth(beta), one.worth(1.0)
    rest = f"the data let {now} of {one.latent} latents carry {NOTHING} nats at this weight, and {fair} at 1"
    if fair <= max(now, one.carrying) or not one.explains(now):
        return clear(cause, f"{said}; {rest}; {one.carrying} do.", **numbers(one))
    strength = min(fair - now, one.dead) / one.dead
    return found(cause, f"{said}: {rest}{linear(one)}.", strength, **numbers(one))


def weight_too_small(subject: Subject, evidence: Evidence) -> Finding:
    """Nothing keeps the codes where the prior is."""
    cause, one = "KL weight too small", limits(subject, evidence)
    beta = one.effective.beta
    if beta is None:
        return untested(cause, unread(one.effective))
    off = max(float(evidence.kl) - float(evidence.bracket.upper), evidence.kl.separation, 0.0)
    said = f"A nat of KL costs {beta:.3g} nats of log p(x|z) ({one.effective.reading})"
    share = off / max(float(evidence.kl), 1e-9)
    more = numbers(one) | {"mismatch": off, "mismatch_share": share}
    if beta > LIGHT or off < ASTRAY or share < 0.1:
        return clear(cause, f"{said}; {off:.2f} nats lie between the codes and the prior.", **more)
    strength = min(1.0, share + (0.5 if beta < 0.01 else 0.0))
    return found(cause, f"{said}: too little to keep the codes on the prior, {off:.1f} nats away.", strength, **more)


def noise_too_large(subject: Subject, evidence: Evidence) -> Finding:
    """Even at beta = 1 the decoder's variance drowns directions of the data."""
    cause, one = "decoder noise too large", limits(subject, evidence)
    if one.spectrum is None:
        return untested(
            cause, "There is a rule for Gaussian likelihoods whose variance is known, with data as numbers."
        )
    if one.spectrum.rule == "bernoulli":
        return clear(cause, "A Bernoulli likelihood has no variance that could be too large.", **numbers(one))
    spectrum, fair = one.spectrum, one.supported
    alive, best = one.worth(1.0), max(spectrum.calibrated(fair), 1e-12)
    more = numbers(one) | {"variance": spectrum.noise, "best": best, "data": spectrum.total / spectrum.pixels}
    said = (
        f"The decoder's variance is {spectrum.noise:.3g}, the data's {spectrum.total / spectrum.pixels:.3g} per pixel "
        f"and {float(spectrum.eigenvalues[0]):.3g} along its largest direction; at beta = 1 {alive} of {one.latent} "
        f"latents can carry {NOTHING} nats"
    )
    if spectrum.rule == "whitened":
        said = f"By the decoder's own variance {alive} of {one.latent} latents can carry {NOTHING} nats at beta = 1"
    drowned = spectrum.noise > DROWNED * best and alive < fair
    if not drowned or one.dead == 0 or one.carrying >= fair or not one.explains(alive):
        return clear(cause, f"{said}; {one.carrying} do.", **more)
    if follows(subject):
        return clear(cause, f"{said}; the variance is learned, and follows what the code leaves.", **more)
    strength = min(fair - alive, one.dead) / one.dead
    return found(cause, f"{said}. With a variance of {best:.3g} there would be room for {fair}.", strength, **more)


def follows(subject: Subject) -> bool:
    """Whether a Gaussian likelihood's variance is learned and near that of its residuals, not held up by a floor."""
    count = min(len(subject.x), 256)
    with evaluation(subject.module, subject.seed), torch.enable_grad():
        base = base_of(subject.model.likelihood(subject.z[:count].detach()))
    if not isinstance(base, Normal) or not base.scale.requires_grad:
        return False
    residuals = ((subject.x[:count] - base.loc) / base.scale).detach().double().square()
    return float(residuals.mean()) > 1 / DROWNED


def too_many_latents(subject: Subject, evidence: Evidence) -> Finding:
    """Most latents that are empty could not be filled at this weight and noise: the data have no direction for them."""
    cause, one = "more latents than the data support", limits(subject, evidence)
    if one.spectrum is None:
        return untested(cause, "There is a rule for Gaussian and Bernoulli likelihoods, with data as numbers.")
    worth = one.worth(one.spectrum.beta)
    spare, more = one.latent - worth, numbers(one) | {"worth": worth}
    said = (
        f"At this weight and noise {worth} of {one.latent} directions of the data are worth {NOTHING} nats to a "
        f"latent; {one.carrying} latents carry that much"
    )
    explained = min(spare, one.dead) / max(one.dead, 1)
    blamed = "found" in {test(subject, evidence).state for test in (weight_too_large, noise_too_large)}
    if one.carrying == 0 or explained < MOST or blamed:  # another weight or noise would make room
        return clear(cause, f"{said}.", **more)
    return found(cause, f"{said}, and {one.dead} are empty{linear(one)}.", explained, **more)


def linear(one: Limits) -> str:
    """The reservation that belongs to the Bernoulli rule."""
    if one.spectrum is None or one.spectrum.rule != "bernoulli":
        return ""
    return " (linear rule; a decoder that is not linear may keep more)"
