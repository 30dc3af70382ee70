"""Causes that lie in the training: inference behind the decoder, schedules that did not end, no training at all."""

import torch
from torch.distributions import Bernoulli, Distribution, Independent, Normal

from uncollapse.codes import evaluation
from uncollapse.diagnosis.finding import Finding, clear, found, untested
from uncollapse.diagnosis.objective_causes import charged
from uncollapse.diagnosis.refine import DRAWS, Refined, refine
from uncollapse.diagnosis.subject import Evidence, Subject
from uncollapse.diagnosis.weight import fixed_variance
from uncollapse.distributions import Folded
from uncollapse.errors import UncollapseError

__all__ = ["inference_lag", "refined", "unfinished", "untrained"]

SHARE = 0.3  #: of what the refined codes tell the decoder that the encoder's own do not, for a lag
UNSURE = " (an encoder that obeys a heavy KL looks the same at a weight of 1: pass loss= or weight= to tell)"
RESTED = 0.01  #: share of a weight's range that it may still move in the last tenth of training
EXAMPLES = 256  #: whose posteriors are refined


def inference_lag(subject: Subject, evidence: Evidence) -> Finding:
    """Whether a few gradient steps on q, with the decoder as it is, close much of the gap."""
    cause, found_out = "inference lag", refined(subject)
    if isinstance(found_out, str):
        return untested(cause, found_out)
    gain, steps = float(found_out.gain.mean()), subject.budget.steps
    se = float(found_out.gain.std() / len(found_out.gain) ** 0.5)
    clearer = found_out.before - found_out.distortion
    more = min(clearer, found_out.used - found_out.told)  # what is better for all inputs alike is not information
    share = more / max(found_out.used, 1e-9) if found_out.used > 0 else 0.0
    numbers = {"gain": gain, "se": se, "likelihood": clearer, "steps": float(steps)}
    numbers |= {"told": found_out.told, "used": found_out.used}
    at = price(subject)
    heavy = "" if abs(at - 1) < 0.01 else f" (at a KL weight of {at:.3g})"
    said = (
        f"{steps} gradient steps on q raise the bound{heavy} by {gain:.2f} nats and log p(x|z) by {clearer:.2f}; "
        f"the codes tell the decoder {found_out.told:.2f} nats before, and {found_out.used:.2f} after"
    )
    if share > SHARE and gain > max(0.5, 3 * se) and more > 2 * found_out.error and knows(subject, found_out):
        unsure = "" if charged(subject).beta is not None else UNSURE
        said = f"{said}: the decoder uses z, and the encoder has not kept up{unsure}."
        return found(cause, said, share, **numbers)
    return clear(cause, f"{said}: the encoder answers about as well as it could.", **numbers)


def knows(subject: Subject, found_out: Refined) -> bool:
    """Whether refined codes let the decoder beat the best constant clearly: else there is nothing to lag behind."""
    base = baseline(subject)
    return base is None or found_out.distortion < base[0] - base[1]


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
        width = spread.to(torch.float32)
        out = refine(subject.model, x, subject.budget.steps, width, subject.seed, weight=price(subject))
    except (UncollapseError, NotImplementedError, RuntimeError, ValueError) as error:
        return f"The posteriors cannot be refined: {error}."
    return out if out.gain.isfinite().all() else "The posteriors cannot be refined: the bound became NaN."


def price(subject: Subject) -> float:
    """What a nat of KL costs the encoder, in nats of the model's own log p(x|z); 1 where that is not known.

    An encoder that obeys a heavy KL has not been left behind: it is refined under the weight that it was trained with.
    """
    one = charged(subject)
    if one.beta is None:
        return 1.0
    with evaluation(subject.module, subject.seed):
        variance = fixed_variance(subject.model.likelihood(subject.z[:64]))
    return one.noise / variance if one.noise is not None and variance else one.beta


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
    moved = abs(values[-1] - values[-1 - max(len(values) // 10, 1)])  # a controller never rests to the last digit
    if values[-1] != values[-2] and moved > RESTED * (max(values) - min(values)):
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
    best = better.distortion if isinstance(better, Refined) else float(evidence.distortion)
    numbers = {"distortion": float(evidence.distortion), "refined": best, "constant": constant}
    said = f"-log p(x|z) is {float(evidence.distortion):.1f} nats, and {constant:.1f} for one constant answer"
    if float(evidence.distortion) > constant + margin and best > constant - margin:  # made to measure, and no better
        return found(cause, f"{said}: the decoder has not learned the data, or was not loaded.", **numbers)
    return clear(cause, f"{said}.", **numbers)


def baseline(subject: Subject) -> tuple[float, float] | None:
    """-log p of the data under the best constant of the model's own likelihood, and a margin, nats."""
    x = subject.x.double()
    with evaluation(subject.module, subject.seed):
        px = subject.model.likelihood(subject.z[:64])
    base = inner(px)
    if isinstance(base, Bernoulli):
        p = x.mean(0).clamp(1e-4, 1 - 1e-4)
        entropy = float(-(x * p.log() + (1 - x) * (1 - p).log()).flatten(1).sum(1).mean())
        return entropy, max(0.1 * (x[0].numel() * 0.6931 - entropy), 0.02 * entropy)
    if isinstance(base, Normal):
        scale = base.scale.double().expand(px.batch_shape + px.event_shape).reshape(-1, *x.shape[1:]).mean(0)
        squared = float(((x - x.mean(0)) / scale).square().flatten(1).sum(1).mean() / 2)
        constant = float((scale.log() + 0.9189385).sum())
        return squared + constant, 0.1 * squared
    return None


def inner(px: Distribution) -> Distribution:
    """The distribution of one number inside its wrappers."""
    while isinstance(px, Folded | Independent):
        px = px.base if isinstance(px, Folded) else px.base_dist
    return px
