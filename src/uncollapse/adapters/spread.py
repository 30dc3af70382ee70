"""What the second number of a Gaussian is: log-variance, log-deviation, deviation or variance."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from uncollapse.adapters.parts import role_of
from uncollapse.distributions import precise

__all__ = ["SPREADS", "sampled_kind", "sampler_kind", "spread_kind"]

#: Standard deviation from each way to write it.
SPREADS: dict[str, Callable[[Tensor], Tensor]] = {
    "log-variance": lambda s: (0.5 * s).exp(),
    "log-deviation": lambda s: s.exp(),
    "deviation": lambda s: s,
    "variance": lambda s: s.sqrt(),
}
MARGIN = 0.02  #: nats per number by which the best reading of the model's own samples must beat the next
SAMPLERS = (
    "reparameterize", "reparameterise", "reparametrize", "reparametrise", "reparam", "sample_z", "reparameterization",
    "reparametrization", "reparameterization_trick", "sampling",
)  # fmt: skip
ENOUGH = 64  #: numbers that such samples must hold


def spread_kind(name: str, values: Tensor, evidence: str = "") -> tuple[str, str]:
    """How to read the second parameter of a Gaussian, and why, "" where it is beyond doubt.

    Arguments:
        name: what the model calls it, or "".
        values: some of its values.
        evidence: the reading that the model's own samples support, or "".
    """
    named, signed = role_of(name), not bool((precise(values) > 0).all())
    if evidence:
        odd = named in SPREADS and named != evidence
        return evidence, f"the model's own samples show that {name!r} is a {evidence}" if odd else ""
    if named in SPREADS and not (signed and named in {"deviation", "variance"}):
        return named, ""
    if named in SPREADS:
        return "log-variance", f"{name!r} has values that are not positive, so it is read as a log-variance"
    if signed:
        return "log-variance", "the second output has negative values or zeros, so it is read as a log-variance"
    return "deviation", "all values of the second output are positive, so it is read as a standard deviation"


def sampled_kind(z: Tensor, mean: Tensor, spread: Tensor) -> str:
    """The reading under which samples z of the model itself are likeliest; "" when they cannot tell.

    Arguments:
        z: (*K, B, *S), samples that the model drew.
        mean: (B, *S).
        spread: (B, *S), the parameter in question.
    """
    error = (precise(z) - precise(mean)).double()
    if error.numel() < ENOUGH or not bool(error.abs().max() > 0):
        return ""
    scores: dict[str, float] = {}
    for kind, scale in SPREADS.items():
        sd = scale(precise(spread).double())
        if bool((sd > 0).all()) and bool(sd.isfinite().all()):
            scores[kind] = float((-0.5 * (error / sd) ** 2 - sd.log()).mean())
    ranked = sorted(scores, key=scores.__getitem__, reverse=True)
    if not ranked or (len(ranked) > 1 and not scores[ranked[0]] - scores[ranked[1]] > MARGIN):
        return ""
    return ranked[0]


def sampler_kind(model: Any, mean: Tensor) -> str:
    """The reading that the model's own `reparameterize(mean, spread)`, or the like, makes of a spread of 3; "" if none.

    At 3 the four readings are deviations of 4.5, 20, 3 and 1.7.
    """
    zero = mean.new_zeros(len(SPREADS) * ENOUGH, *mean.shape[1:])
    for name in SAMPLERS:
        method = getattr(model, name, None)
        if callable(method):
            try:
                z = method(zero, zero + 3)
            except Exception:  # a foreign method may want anything else
                continue
            if isinstance(z, Tensor) and z.shape == zero.shape:
                return sampled_kind(z, zero, zero + 3)
    return ""
