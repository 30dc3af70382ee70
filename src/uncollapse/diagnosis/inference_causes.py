"""Causes that lie in the training: inference behind the decoder, schedules that did not end, no training at all."""

import torch
from torch.distributions import Bernoulli, Distribution, Independent, Normal

from uncollapse.diagnosis.finding import Finding, clear, found, untested
from uncollapse.diagnosis.refine import DRAWS, Refined, refine
from uncollapse.diagnosis.subject import Evidence, Subject
from uncollapse.distributions import Folded
from uncollapse.errors import UncollapseError

__all__ = ["inference_lag", "refined", "unfinished", "untrained"]

SHARE = 0.3  #: of what the refined codes tell the decoder that the encoder's own do not, for a lag
EXAMPLES = 256  #: whose posteriors are refined


def inference_lag(subject: Subject, evidence: Evidence) -> Finding:
    """Whether a few gradient steps on q, with the decoder as it is, close much of the gap."""
    cause, found_out = "inference lag", refined(subject)
    if isinstance(found_out, str):
        return untested(cause, found_out)
    gain, steps = float(found_out.gain.mean()), subject.budget.steps
    se = float(found_out.gain.std() / len(found_out.gain) ** 0.5)
    clearer = found_out.before - found_out.distortion
    share = clearer / max(found_out.used, 1e-9) if found_out.used > 0 else 0.0
    numbers = {"gain": gain, "se": se, "likelihood": clearer, "used": found_out.used, "steps": float(steps)}
    said = (
        f"{steps} gradient steps on q raise the bound by {gain:.2f} nats and log p(x|z) by {clearer:.2f}, of the "
        f"{found_out.used:.2f} that the refined codes tell the decoder"
    )
    if share > SHARE and gain > max(0.5, 3 * se):
        return found(cause, f"{said}: the decoder uses z, and the encoder has not kept up.", share, **numbers)
    return clear(cause, f"{said}: the encoder answers about as well as it could.", **numbers)


def refined(subject: Subject) -> Refined | str:
    """Refined posteriors of a few examples, computed once; or why there are none."""
    known = subject.memory.get("refined")
    if known is None:
        known = subject.memory["refined"] = attempt(subject)
    return known if isinstance(known, Refined) else str(known)


def attempt(subject: Subject) -> Refined | str:
    """Refine, or say why not."""
    if not subject.adapted.decodes or len(subject.x) < 2:
        return "A decoder and at least two inputs are needed to refine posteriors."
    spread = subject.codes.sample.double().std(0).clamp(min=1e-3)
    try:
        x = subject.some(subject.afford(EXAMPLES, 3 * subject.budget.steps + 2 * DRAWS))
        out = refine(subject.model, x, subject.budget.steps, spread.to(torch.float32), subject.seed)
    except (UncollapseError, NotImplementedError, RuntimeError, ValueError) as error:
        return f"The posteriors cannot be refined: {error}."
    return out if out.gain.isfinite().all() else "The posteriors cannot be refined: the bound became NaN."


def unfinished(subject: Subject, evidence: Evidence) -> Finding:
    """Whether a schedule (of the KL's weight, say) had not reached its end when training stopped."""
    cause = "schedule not finished"
    if subject.objective is None:
        return from_history(subject)
    late = [(name, one) for name, one in subject.objective.members() if int(one.step) < one.arrives]
    if not late:
        return clear(cause, "Every schedule of the objective has reached its end.")
    name, one = max(late, key=lambda pair: pair[1].arrives)
    done = int(one.step) / one.arrives
    return found(
        cause,
        f"The schedule of {name} was at step {int(one.step):,} of {one.arrives:,} when training stopped: the model was "
        "fitted to another objective than the one meant.",
        1 - done,
        steps=float(one.step),
        arrives=float(one.arrives),
    )


def from_history(subject: Subject) -> Finding:
    """The same from the weight of the KL over training, where the user gives it as history={"beta": [...]}."""
    cause = "schedule not finished"
    values = [float(b) for b in subject.history.get("beta", [])]
    if len(values) < 3:
        return untested(cause, 'Pass objective=, or history={"beta": [...]}, to see whether the schedule had ended.')
    if values[-1] != values[-2] and abs(values[-1] - values[0]) > 0:
        return found(cause, f"The weight of the KL was still moving ({values[-2]:.3g} to {values[-1]:.3g}) at the end.",
                     beta=values[-1])  # fmt: skip
    return clear(cause, f"The weight of the KL rested at {values[-1]:.3g} at the end.", beta=values[-1])


def untrained(subject: Subject, evidence: Evidence) -> Finding:
    """Whether the decoder describes the data worse than their own mean does, even with codes made to measure."""
    cause = "untrained model"
    if evidence.distortion is None or not len(subject.x):
        return untested(cause, "A decoder and inputs are needed.")
    base = baseline(subject)
    if base is None:
        return untested(cause, "Only Bernoulli and Gaussian likelihoods are compared with the mean of the data.")
    constant, margin = base
    better = refined(subject)
    best = min(float(evidence.distortion), better.distortion if isinstance(better, Refined) else float("inf"))
    numbers = {"distortion": float(evidence.distortion), "refined": best, "constant": constant}
    said = f"-log p(x|z) is {float(evidence.distortion):.1f} nats, and {constant:.1f} for one constant picture"
    if best > constant + margin:
        return found(cause, f"{said}: the decoder has not learned the data, or was not loaded.", **numbers)
    return clear(cause, f"{said}.", **numbers)


def baseline(subject: Subject) -> tuple[float, float] | None:
    """-log p of the data under the best constant of the model's own likelihood, and a margin, nats."""
    x = subject.x.double()
    with torch.no_grad():
        px = subject.model.likelihood(subject.z[:2])
    base = inner(px)
    if isinstance(base, Bernoulli):
        p = x.mean(0).clamp(1e-4, 1 - 1e-4)
        entropy = float(-(x * p.log() + (1 - x) * (1 - p).log()).flatten(1).sum(1).mean())
        return entropy, max(0.1 * (x[0].numel() * 0.6931 - entropy), 0.02 * entropy)
    if isinstance(base, Normal):
        scale = base.scale.double().mean().to(x.device)
        squared = float((x - x.mean(0)).square().flatten(1).sum(1).mean() / (2 * scale**2))
        constant = float(x[0].numel() * (scale.log() + 0.9189385))
        return squared + constant, 0.1 * squared
    return None


def inner(px: Distribution) -> Distribution:
    """The distribution of one number inside its wrappers."""
    while isinstance(px, Folded | Independent):
        px = px.base if isinstance(px, Folded) else px.base_dist
    return px
