"""Causes that lie in the decoder: it does not use z, or needs no z because it sees the data."""

import torch
from torch import Tensor

from uncollapse.codes import evaluation
from uncollapse.diagnosis.finding import Finding, clear, found, untested
from uncollapse.diagnosis.gathering import log_likelihoods
from uncollapse.diagnosis.inference_causes import baseline
from uncollapse.diagnosis.refusals import reason
from uncollapse.diagnosis.subject import Evidence, Subject
from uncollapse.diagnosis.weight import base_of
from uncollapse.metrics import Estimate
from uncollapse.metrics.estimate import known_error, mean_estimate

__all__ = ["autoregressive", "factorises", "ignores"]

CHANGES = ("shuffle", "zero", "prior", "perturb")  #: what is done to z
NOTHING = 0.1  #: nats of effect below which a decoder does not react
EMPTY = ("collapsed", "partial collapse", "off-prior collapse", "decoder ignores z", "undetermined")


def ignores(subject: Subject, evidence: Evidence) -> Finding:
    """Whether the likelihood changes when z is shuffled, set to the prior's mean, drawn from it, or moved by it."""
    cause = "decoder ignores z"
    if not subject.adapted.decodes or len(subject.x) < 2:
        return untested(cause, "A decoder and at least two inputs are needed.")
    try:
        effects = reactions(subject)
    except Exception as error:  # somebody's decoder may raise anything
        return untested(cause, f"The decoder could not be asked: {reason(error)}.")
    shuffled = evidence.gap if evidence.gap is not None else effects["shuffle"]
    effects["shuffle"] = shuffled
    numbers = {name: float(effects[name]) for name in CHANGES}
    said = (
        f"log p(x|z) loses {numbers['shuffle']:.2f} nats when z is shuffled, {numbers['zero']:.2f} when it is the "
        f"prior's mean, {numbers['prior']:.2f} when it is drawn from the prior, and {numbers['perturb']:.2f} when it "
        "is moved by the prior's noise"
    )
    if all(abs(effects[name]) < NOTHING + 2 * known_error(effects[name]) for name in CHANGES):
        reach = float(effects["reach"])
        more = "the decoder ignores z" if reach < NOTHING else f"codes of the prior would move it by {reach:.2f} nats"
        if reach < NOTHING or evidence.verdict.word == "decoder ignores z":
            return found(cause, f"{said}: {more}.", reach=reach, **numbers)
        return clear(cause, f"{said}, although {more}: it could use a code, and gets none.", reach=reach, **numbers)
    return clear(cause, f"{said}.", **numbers)


def reactions(subject: Subject) -> dict[str, Estimate]:
    """What other codes cost the likelihood, nats, and how much it varies over codes of the prior ("reach")."""
    count = subject.afford(512, 6)
    x, z = subject.some(count), subject.z[:count]
    prior = subject.model.prior()
    with evaluation(subject.module, subject.seed):
        draws = prior.sample(torch.Size((2, len(x)))).to(z)
        middle = prior.mean.to(z).expand_as(z) if has_mean(prior) else draws.mean(0)
    right = log_likelihoods(subject.model, x, z)
    codes = {"shuffle": z.roll(max(len(z) // 2, 1), 0), "zero": middle, "prior": draws[0], "other": draws[1]}
    codes["perturb"] = z + draws[1] - middle
    values = {name: log_likelihoods(subject.model, x, code) for name, code in codes.items()}
    found_out = {name: mean_estimate(right - value, "nats") for name, value in values.items() if name != "other"}
    found_out["reach"] = mean_estimate((values["prior"] - values["other"]).abs() / 2**0.5, "nats")
    return found_out


def has_mean(prior: torch.distributions.Distribution) -> bool:
    """Whether the prior's mean can be had."""
    try:
        return bool(prior.mean.isfinite().all())
    except NotImplementedError:
        return False


def autoregressive(subject: Subject, evidence: Evidence) -> Finding:
    """Whether the decoder sees parts of x beside z, and predicts x about as well without z."""
    cause, whole = "autoregressive decoder", factorises(subject)
    if whole is None:
        return untested(cause, "The likelihood could not be asked about mixed inputs.")
    if whole:
        return clear(cause, "Given z the parts of x are independent: the decoder sees z alone.")
    gap, base = evidence.gap, baseline(subject)
    cost = float("nan") if gap is None else float(gap)
    numbers = {"gap": cost} | ({} if base is None else {"constant": base[0]})
    said = f"The decoder sees earlier parts of x, and a wrong z costs it {cost:.2f} nats"
    if evidence.distortion is not None and evidence.verdict.word in EMPTY:
        share = max(0.0, min(1.0, 1 - cost / max(abs(float(evidence.distortion)), 1e-9)))
        return found(cause, f"{said} of {float(evidence.distortion):.1f}: it predicts x without z.", share, **numbers)
    return clear(cause, f"{said}: it uses z none the less.", **numbers)


def factorises(subject: Subject, count: int = 64) -> bool | None:
    r"""Whether log p(x|z) is a sum over the parts of x; None where it cannot be asked.

    With two inputs a and b and the halves H and its complement,
    $\ell(a) + \ell(b) = \ell(a_H b_{\bar H}) + \ell(b_H a_{\bar H})$ for every code exactly if the halves are
    independent given z.
    """
    x = subject.some(count)
    if not subject.adapted.decodes or len(x) < 2:
        return None
    other, z = x.roll(1, 0), subject.z[: len(x)]
    if given_total(subject, z):
        return True
    half = torch.zeros_like(x[0], dtype=torch.bool).flatten()
    half[: half.numel() // 2] = True
    half = half.view_as(x[0])
    try:
        with evaluation(subject.module, subject.seed):
            sides = [torch.where(half, x, other), torch.where(half, other, x)]
            whole, mixed = (sum_of(subject, pair, z) for pair in ([x, other], sides))
    except Exception:  # somebody's likelihood may raise anything
        return None
    return bool(((whole - mixed).abs() <= 1e-5 * (1 + whole.abs())).all())


def given_total(subject: Subject, z: Tensor) -> bool:
    """Whether counts are described given their total: it couples them, although the decoder sees z alone."""
    try:
        with evaluation(subject.module, subject.seed):
            return bool(getattr(base_of(subject.model.likelihood(z)), "given_total", False))
    except Exception:  # somebody's likelihood may raise anything
        return False


def sum_of(subject: Subject, inputs: list[Tensor], z: Tensor) -> Tensor:
    """Sum over the inputs of log p(x|z), (M,) nats."""
    return torch.stack([subject.model.likelihood(z).log_prob(x).double() for x in inputs]).sum(0)
