"""Which classes, and which inputs, carry nothing."""

from dataclasses import dataclass

from torch import Tensor

from uncollapse.codes import Codes
from uncollapse.diagnosis.subject import Evidence, Subject
from uncollapse.metrics import mutual_information
from uncollapse.metrics.information import information_per_example

__all__ = ["ClassRow", "by_class", "empty_inputs"]

EMPTY = 0.1  #: nats of KL below which an input's posterior is the prior, and of information within a class
MOST = 200  #: different labels above which they are no classes
LEAST = 10  #: examples that a class needs to be judged
EACH = 500  #: examples of a class at which its information is evaluated


@dataclass(frozen=True)
class ClassRow:
    """What the posterior knows about the inputs of one class.

    Attributes:
        label: its name.
        n: its examples.
        information: mean of KL(q(z|x)||q(z)), nats, about these inputs.
        within: information that tells the inputs of this class apart, nats; at most log n.
        kl: mean KL to the prior, nats.
        collapsed_share: share of inputs whose posterior is the prior.
        word: "carries", "label only" (nothing but the class is known) or "collapsed".
    """

    label: str
    n: int
    information: float
    within: float
    kl: float
    collapsed_share: float
    word: str


def by_class(subject: Subject, evidence: Evidence) -> list[ClassRow]:
    """One row a class, computed once; none without labels."""
    known = subject.memory.get("classes")
    if known is None:
        known = subject.memory["classes"] = table(subject)
    rows: list[ClassRow] = known
    return rows


def table(subject: Subject) -> list[ClassRow]:
    """Rows for every class of at least ten examples."""
    codes = subject.codes
    if codes.labels is None:
        return []
    values: Tensor = codes.labels.unique()  # type: ignore[no-untyped-call]
    if len(values) > MOST or len(values) < 2:
        return []
    rows = []
    for value in values:
        index = (codes.labels == value).nonzero().flatten()
        if len(index) >= LEAST:
            rows.append(row_of(subject, index, named(subject, value)))
    return rows


def named(subject: Subject, value: Tensor) -> str:
    """The name of a class."""
    return subject.names[int(value)] if subject.names else f"{value.item():g}"


def row_of(subject: Subject, index: Tensor, label: str) -> ClassRow:
    """One class."""
    codes = subject.codes
    some = index[:EACH]
    information = float(information_per_example(codes, some, seed=subject.seed).mean().clamp(min=0))
    within = float(mutual_information(part(codes, some)).lower) if not codes.posteriors else float("nan")
    kl = codes.kl[index].double().sum(1)
    share = float((kl < EMPTY).double().mean())
    word = "carries"
    if within < EMPTY:
        word = "collapsed" if float(kl.mean()) < EMPTY * 2 or share > 0.5 else "label only"
    return ClassRow(label, len(index), information, within, float(kl.mean()), share, word)


def part(codes: Codes, index: Tensor) -> Codes:
    """The codes of some examples."""
    scale = None if codes.scale is None else codes.scale[index]
    return Codes(codes.mean[index], scale, codes.sample[index], codes.kl[index])


def empty_inputs(subject: Subject) -> float:
    """Share of inputs whose posterior is the prior to within 0.1 nats."""
    return float((subject.codes.kl.double().sum(1) < EMPTY).double().mean())
