"""Causes that lie in the data: too few, the same over and over, or such that the encoder gives NaN."""

import math

from uncollapse.diagnosis.finding import Finding, clear, found, untested
from uncollapse.diagnosis.subject import Evidence, Subject
from uncollapse.metrics.information import BIASED

__all__ = ["duplicates", "few", "non_finite"]

FEW = 50  #: examples below which a class, a latent or a cluster cannot be told from chance
REPEATED = 0.5  #: share of different inputs below which the data repeat themselves


def non_finite(subject: Subject, evidence: Evidence) -> Finding:
    """Whether some inputs have a posterior that is NaN, infinite or of width zero."""
    n, total = len(subject.codes), len(subject.codes) + subject.dropped
    if not subject.dropped:
        return clear("non-finite posteriors", f"All {n:,} posteriors are finite.", dropped=0)
    return found(
        "non-finite posteriors",
        f"The posterior of {subject.dropped:,} of {total:,} inputs is NaN, infinite or of width zero; "
        + (f"everything else here is said of the other {n:,}." if n > 1 else "nothing else can be said."),
        1.0,
        dropped=subject.dropped,
        share=subject.dropped / total,
    )


def few(subject: Subject, evidence: Evidence) -> Finding:
    """Whether there are too few examples for the answer that was asked for."""
    n, lower = len(subject.codes), evidence.bracket.lower
    numbers = {"examples": float(n), "ceiling": math.log(n), "se": lower.se}
    undecided = evidence.verdict.word == "undetermined"
    if n < FEW or undecided:
        why = "too many numbers below rest on chance" if n < FEW else f"the information is uncertain by {lower.se:.2f}"
        return found(
            "too few examples",
            f"There are {n:,} examples, which can show at most log {n:,} = {math.log(n):.2f} nats, and {why}.",
            **numbers,
        )
    if evidence.bracket.saturated:
        return clear(
            "too few examples",
            f"{n:,} examples suffice for the verdict, but not to say how much more than {math.log(n):.2f} nats there "
            "are.",
            **numbers,
        )
    return clear("too few examples", f"{n:,} examples suffice (standard error {lower.se:.3f} nats).", **numbers)


def duplicates(subject: Subject, evidence: Evidence) -> Finding:
    """Whether the data hold the same inputs over and over, and the information stops at what so few can show."""
    if subject.distinct is None:
        return untested("duplicated data", "Only codes were given; the inputs themselves are needed.")
    total = len(subject.codes) + subject.dropped
    share = subject.distinct / max(total, 1)
    numbers = {"distinct": float(subject.distinct), "share": share, "ceiling": math.log(max(subject.distinct, 1))}
    if share < REPEATED and evidence.bracket.lower > numbers["ceiling"] - BIASED:
        return found(
            "duplicated data",
            f"Of {total:,} inputs only {subject.distinct:,} can be told apart, so that no code can show more than "
            f"log {subject.distinct:,} = {numbers['ceiling']:.2f} nats.",
            1 - share,
            **numbers,
        )
    return clear(
        "duplicated data", f"Of {total:,} inputs {subject.distinct:,} differ from all others before them.", **numbers
    )
