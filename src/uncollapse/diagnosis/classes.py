"""Which classes, and which inputs, carry nothing."""

from dataclasses import dataclass

from torch import Tensor

from uncollapse.codes import Codes
from uncollapse.diagnosis.subject import Evidence, Subject
from uncollapse.metrics import mutual_information
from uncollapse.metrics.information import information_per_example

__all__ = ["ClassRow", "by_class", "empty_inputs"]

EMPTY = 0.1  #: nats of KL below which an input's posterior is the prior, and of information within a class
TENTH = 0.1  #: of the mean KL: where every input has little, those in the middle have the least, and are not empty
MOST = 200  #: different labels above which they are no classes
FEW = 0.01  #: share of the inputs that is not looked at closely
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
    bar = bar_of(codes)
    share = float((kl < bar).double().mean())
    word = "carries"
    if within < EMPTY:
        word = "collapsed" if float(kl.mean()) < bar * 2 or share > 0.5 else "label only"
    return ClassRow(label, len(index), information, within, float(kl.mean()), share, word)


def part(codes: Codes, index: Tensor) -> Codes:
    """The codes of some examples."""
    scale = None if codes.scale is None else codes.scale[index]
    return Codes(codes.mean[index], scale, codes.sample[index], codes.kl[index])


def empty_inputs(subject: Subject) -> float:
    """Share of inputs whose posterior is the prior to within 0.1 nats; NaN where the KL is only known by sampling."""
    kl = subject.codes.kl.double().sum(1)
    if bool((kl < -EMPTY).any()):  # single draws scatter: some are small by chance
        return float("nan")
    share = float((kl < bar_of(subject.codes)).double().mean())
    return share if share < FEW or uninformed(subject, kl) else 0.0


def uninformed(subject: Subject, kl: Tensor) -> bool:
    """Whether the inputs with the least KL carry nothing: in the middle of narrow codes little KL can tell much."""
    least = (kl < bar_of(subject.codes)).nonzero().flatten()[:EACH]
    told = information_per_example(subject.codes, least, samples=8, seed=subject.seed)
    return float(told.mean()) < EMPTY


def bar_of(codes: Codes) -> float:
    """The KL below which a single input is empty, nats: 0.1, and a tenth of the mean where that is less."""
    return min(EMPTY, TENTH * float(codes.kl.double().sum(1).mean()))
