"""Directions of z that no input's likelihood depends on."""

from uncollapse.diagnosis.finding import Finding, clear, found, untested
from uncollapse.diagnosis.rooms import rooms
from uncollapse.diagnosis.subject import Evidence, Subject

__all__ = ["non_identifiable"]

FLAT = 0.1  #: nats that a Laplace posterior would hold about a direction, below which the decoder is flat along it


def non_identifiable(subject: Subject, evidence: Evidence) -> Finding:
    """Whether the decoder is flat along some directions of z, so that no encoder could put anything there."""
    cause, local = "non-identifiable directions", rooms(subject)
    if isinstance(local, str):
        return untested(cause, local)
    known = local.spectrum[local.epsilon.isfinite()].double().clamp(min=0)
    if not len(known):
        return untested(cause, "The decoder's local spectrum is NaN everywhere.")
    room = 0.5 * known.log1p().mean(0)
    flat, size = int((room < FLAT).sum()), known.shape[1]
    numbers = {"flat": float(flat), "latents": float(size), "largest": float(known.max()), "epsilon": float(room.sum())}
    said = f"At {len(known):,} codes the decoder's local spectrum leaves room for {float(room.sum()):.2f} nats"
    if flat:
        said += f", and for less than {FLAT} along {flat} of {size} directions."
        return found(cause, said, flat / size, **numbers)
    return clear(cause, f"{said}, and for at least {FLAT} along each of {size} directions.", **numbers)
