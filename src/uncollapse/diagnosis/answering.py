"""What is asked of a subject, in order: measure, judge, look for causes, picture."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from uncollapse.diagnosis.aggregate_causes import hidden_hole, local
from uncollapse.diagnosis.classes import ClassRow, by_class
from uncollapse.diagnosis.data_causes import non_finite
from uncollapse.diagnosis.examining import TESTS, attempted, examine, ranked
from uncollapse.diagnosis.finding import Finding
from uncollapse.diagnosis.gathering import gather, likelihood_bound
from uncollapse.diagnosis.judging import borderline, contradictions, sentence, settled
from uncollapse.diagnosis.latents import LatentRow, by_latent
from uncollapse.diagnosis.picturing import images, local_table
from uncollapse.diagnosis.subject import Evidence, Subject
from uncollapse.progress import Report
from uncollapse.verdict import Verdict

__all__ = ["STEPS", "Answer", "Steps", "answer", "too_small"]

STEPS = len(TESTS) + 4  #: of the bar: reading, measuring, the tests, the likelihood bound, the map


class Steps:
    """Counts what was done and tells it."""

    def __init__(self, tell: Report) -> None:
        self.tell, self.done = tell, 0

    def __call__(self, doing: str) -> None:
        """Say what is begun."""
        self.done += 1
        self.tell(self.done, STEPS, {"doing": doing})


@dataclass(frozen=True, eq=False)
class Answer:
    """What was found about a subject, before it is put into words for people and programs."""

    verdict: Verdict
    sentence: str
    tests: list[Finding]
    evidence: Evidence | None = None
    latents: tuple[LatentRow, ...] = ()
    classes: tuple[ClassRow, ...] = ()
    contradictions: tuple[str, ...] = ()
    borderline: str | None = None
    remarks: tuple[str, ...] = ()
    metrics: Mapping[str, Any] | None = None
    local: dict[str, Any] | None = None
    images: dict[str, Any] | None = None


def answer(subject: Subject, steps: Steps) -> Answer:
    """Measure, judge, and look for causes."""
    steps("information and likelihood")
    evidence, remarks = gather(subject)
    steps("classes")
    empty = attempted("class collapsed", local, subject, evidence)
    evidence = replace(evidence, verdict=settled(subject, evidence, empty, hidden_hole(subject, evidence)))
    tests = ranked([empty, *examine(subject, evidence, steps, but=("class collapsed",))])
    steps("likelihood bound")
    bound = likelihood_bound(subject)
    steps("map of the codes")
    return Answer(
        evidence.verdict, sentence(subject, evidence, evidence.verdict), tests, evidence,
        tuple(by_latent(subject, evidence)), tuple(by_class(subject, evidence)),
        tuple(contradictions(subject, evidence)), borderline(subject, evidence), tuple(remarks),
        metrics_of(evidence, bound), local_table(subject, evidence), images(subject),
    )  # fmt: skip


def too_small(subject: Subject) -> Answer:
    """What can be said of one posterior, or of none that is finite."""
    count, total = len(subject.codes), len(subject.codes) + subject.dropped
    said = "There is one example"
    if subject.dropped:
        said = f"{count or 'None'} of {total} examples has a finite posterior"
    said += ", and information is a difference between examples: at least two are needed."
    nothing: Any = None
    causes = [non_finite(subject, nothing)]
    if not subject.dropped:
        causes.append(Finding("too few examples", "found", said, 1.0, {"examples": float(count)}))
    return Answer(Verdict("undetermined", [said]), said, ranked(causes))


def metrics_of(evidence: Evidence, bound: Any) -> dict[str, Any]:
    """The evidence by name."""
    named = {
        "kl": evidence.kl, "kl_information": evidence.kl.information, "kl_mismatch": evidence.kl.mismatch,
        "mi_lower": evidence.bracket.lower, "mi_upper": evidence.bracket.upper, "active_units": evidence.units,
        "shuffle_gap": evidence.gap, "distortion": evidence.distortion, "nll": bound,
    }  # fmt: skip
    return {key: value.to_dict() for key, value in named.items() if value is not None}
