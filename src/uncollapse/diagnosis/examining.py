"""All tests of causes, in the order in which causes explain one another."""

from collections.abc import Callable, Sequence

from uncollapse.diagnosis.aggregate_causes import clusters, hole, inflation, local
from uncollapse.diagnosis.data_causes import duplicates, few, non_finite
from uncollapse.diagnosis.decoder_causes import autoregressive, ignores
from uncollapse.diagnosis.encoder_causes import batch_statistics, dead_head, outside_optimizer
from uncollapse.diagnosis.finding import Finding, untested
from uncollapse.diagnosis.identifiable import non_identifiable
from uncollapse.diagnosis.inference_causes import inference_lag, unfinished, untrained
from uncollapse.diagnosis.objective_causes import (
    noise_too_large,
    too_many_latents,
    weight_too_large,
    weight_too_small,
)
from uncollapse.diagnosis.refusals import reason
from uncollapse.diagnosis.subject import Evidence, Subject

__all__ = ["TESTS", "examine", "ranked"]

Test = Callable[[Subject, Evidence], Finding]

#: cause and the test that looks for it; a test may lean on what earlier ones left in the subject's memory
TESTS: dict[str, Test] = {
    "non-finite posteriors": non_finite,
    "too few examples": few,
    "duplicated data": duplicates,
    "class collapsed": local,
    "batch statistics": batch_statistics,
    "dead encoder head": dead_head,
    "encoder outside the optimiser": outside_optimizer,
    "KL weight too large": weight_too_large,
    "KL weight too small": weight_too_small,
    "decoder noise too large": noise_too_large,
    "more latents than the data support": too_many_latents,
    "schedule not finished": unfinished,
    "inference lag": inference_lag,
    "untrained model": untrained,
    "autoregressive decoder": autoregressive,
    "decoder ignores z": ignores,
    "scale inflation": inflation,
    "tight clusters": clusters,
    "prior hole": hole,
    "non-identifiable directions": non_identifiable,
}


def examine(
    subject: Subject, evidence: Evidence, doing: Callable[[str], None] = lambda cause: None, but: Sequence[str] = ()
) -> list[Finding]:
    """Run every test once and rank what they found.

    Arguments:
        subject: the model and its data.
        evidence: what was measured.
        doing: is told which cause is looked for.
        but: causes whose tests were run before.
    """
    found = []
    for cause, test in TESTS.items():
        if cause not in but:
            doing(cause)
            found.append(attempted(cause, test, subject, evidence))
    return ranked(found)


def attempted(cause: str, test: Test, subject: Subject, evidence: Evidence) -> Finding:
    """The test's finding; somebody's model may refuse anything, and that must not take the other answers with it."""
    try:
        return test(subject, evidence)
    except Exception as error:  # somebody's network may raise anything
        return untested(cause, f"The test could not be run: {reason(error)}.")


def ranked(findings: Sequence[Finding]) -> list[Finding]:
    """Found first, upstream causes ahead; then what is clear; then what could not be tested."""
    states = ("found", "clear", "untested")
    return sorted(findings, key=lambda one: (states.index(one.state), one.place))
