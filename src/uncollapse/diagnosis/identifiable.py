"""Directions of z that no input's likelihood depends on."""

from uncollapse.diagnosis.finding import Finding, clear, found, untested
from uncollapse.diagnosis.rooms import rooms
from uncollapse.diagnosis.subject import Evidence, Subject

__all__ = ["non_identifiable"]

FLAT = 0.1  #: nats that a Laplace posterior would hold about a direction, below which the decoder is flat along it


def non_identifiable(subject: Subject, evidence: Evidence) -> Finding:
    """Whether the decoder is flat along some directions of z at all codes, so that no encoder could use them."""
    cause, local = "non-identifiable directions", rooms(subject)
    if isinstance(local, str):
        return untested(cause, local)
    places, size = int(local.epsilon.isfinite().sum()), len(local.everywhere)
    if not places:
        return untested(cause, "The decoder's local spectrum is NaN everywhere.")
    room, typical = 0.5 * local.everywhere.double().log1p(), float(local.epsilon[local.epsilon.isfinite()].mean())
    flat = int((room < FLAT).sum())
    numbers = {
        "flat": float(flat),
        "latents": float(size),
        "largest": float(local.everywhere.max()),
        "epsilon": typical,
    }
    numbers["used"] = float(size - flat)
    said = f"At {places:,} codes the decoder's local spectrum leaves room for {typical:.2f} nats"
    if not flat:
        return clear(cause, f"{said}, and no direction of z is flat at all of them.", **numbers)
    said += f", and {flat} of {size} directions of z are flat at all of them (less than {FLAT} nats)"
    if evidence.verdict.word in ("collapsed", "off-prior collapse"):
        return clear(cause, f"{said}; in a collapsed model that follows, whatever the cause.", **numbers)
    return found(cause, f"{said}.", flat / size, **numbers)
