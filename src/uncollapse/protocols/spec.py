"""What a protocol is: the published table, in whose words, and the study that repeats it."""

from dataclasses import dataclass, field
from typing import Any

from uncollapse.errors import BadInput
from uncollapse.protocols.scales import SCALES, scaled
from uncollapse.study.naming import nearest
from uncollapse.study.spec import Study

__all__ = ["Claim", "Column", "Figure", "Paper", "Part", "Protocol", "Published"]

Value = float | list[float] | str | None


@dataclass(frozen=True)
class Paper:
    """Where the numbers come from.

    Attributes:
        citation: authors, year, title.
        url: of the paper.
        where: such as "Table 1".
        data: what the paper trained on, in words.
        read: what was read for this protocol, where that is not the paper itself.
    """

    citation: str
    url: str
    where: str
    data: str = ""
    read: str = ""


@dataclass(frozen=True)
class Column:
    """A column of the published table.

    Attributes:
        label: as printed.
        definition: the paper's formula in words.
        legacy: key of `measure.legacy`, the paper's formula on our run; None where ours is the same.
        right: metrics of ours that answer what the column is meant to answer.
        unit: of the numbers.
        digits: printed after the point.
        note: what a reader should know before comparing.
    """

    label: str
    definition: str
    legacy: str | None = None
    right: list[str] = field(default_factory=list)
    unit: str = ""
    digits: int = 2
    note: str = ""


@dataclass(frozen=True)
class Published:
    """The published table.

    Attributes:
        columns: by key, in the order of the table.
        rows: {arm: {column: mean, [mean, standard deviation] or text such as "0.93 to 0.96"}}.
        spread: what the number in brackets is, in words.
    """

    columns: dict[str, Column]
    rows: dict[str, dict[str, Value]] = field(default_factory=dict)
    spread: str = ""


@dataclass(frozen=True)
class Part:
    """One condition on the seeds of a claim.

    Attributes:
        metric: a metric of ours, `legacy.KEY`, `active_share`, `seconds.fit`, `noise.VARIANCE`, `history.KEY.last`
            (or first, least, most), or a quantity of an exact computation.
        arm: whose runs; empty for a quantity that belongs to no arm.
        minus, over: another arm whose value of the same seed is subtracted, or divides.
        minus_metric: another metric that is subtracted; of the same arm where `minus` is empty.
        at_least, at_most, near, within: the condition; `near` goes with `within`.
        printed: the claim is about the printed number itself, so that an estimator at its cap is no objection.
    """

    metric: str
    arm: str = ""
    minus: str = ""
    over: str = ""
    minus_metric: str = ""
    at_least: float | None = None
    at_most: float | None = None
    near: float | None = None
    within: float | None = None
    printed: bool = False

    def __post_init__(self) -> None:
        asked = [name for name in ("at_least", "at_most", "near") if getattr(self, name) is not None]
        if len(asked) != 1 or (self.near is None) != (self.within is None):
            raise BadInput("a part of a claim has one condition: at_least, at_most, or near with within")
        if self.within is not None and self.within < 0:
            raise BadInput(f"within is a distance and not negative, got {self.within}")


@dataclass(frozen=True)
class Claim:
    """Something that the paper says, as conditions that all have to hold.

    Attributes:
        say: in words.
        parts: the conditions.
        because: why these conditions decide it.
    """

    say: str
    parts: list[Part]
    because: str = ""


@dataclass(frozen=True)
class Figure:
    """What to draw.

    Attributes:
        kind: "history" (over epochs), "bars" (one bar a method), "heat" (two settings against each other),
            "noise" (the noise test), or "none".
        metrics: which numbers; the first one for a heat map.
        rows, columns: of a heat map: {label: name, values: [...]}.
        arm: of a heat map: the name of a method with {row} and {column} in it.
        title: of the figure.
    """

    kind: str = "none"
    metrics: list[str] = field(default_factory=list)
    rows: dict[str, Any] = field(default_factory=dict)
    columns: dict[str, Any] = field(default_factory=dict)
    arm: str = ""
    title: str = ""

    def __post_init__(self) -> None:
        kinds = ("history", "bars", "heat", "noise", "none")
        if self.kind not in kinds:
            raise BadInput(f"there is no kind of figure {self.kind!r}; {nearest(self.kind, kinds)}")


@dataclass(frozen=True)
class Protocol:
    """One table or figure of a paper.

    Attributes:
        name: of the protocol, of its file and, with the scale, of the folder of its runs.
        title, question: for people.
        paper: whose.
        published: the table.
        study: the settings of a `Study` at the paper's budget; empty where `compute` is given.
        compute: "module:function" of an exact computation, called with (scale, progress).
        scales: {scale: changes}; `paper` is the study as it stands.
        claims: what the paper says.
        figure: what is drawn.
        differs: what is not as in the paper at any scale, a sentence each.
        unseen: what of the paper could not be seen, a sentence each.
    """

    name: str
    title: str
    question: str
    paper: Paper
    published: Published
    scales: dict[str, dict[str, Any]]
    study: dict[str, Any] = field(default_factory=dict)
    compute: str = ""
    claims: list[Claim] = field(default_factory=list)
    figure: Figure = field(default_factory=Figure)
    differs: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if bool(self.study) == bool(self.compute):
            raise BadInput("a protocol has either a study or compute")
        missing = [scale for scale in SCALES if scale not in self.scales]
        if missing:
            raise BadInput(f"a protocol says what its scales {' and '.join(SCALES)} are; {missing[0]} is not there")

    def settings(self, scale: str) -> dict[str, Any]:
        """The settings of the study at a scale, as plain values."""
        return scaled(self.study, self.changes(scale), f"{self.name}-{scale}", self.title)

    def study_at(self, scale: str) -> Study:
        """The study at a scale.

        Raises:
            BadInput: for an exact protocol, an unknown scale, or settings that make no study.
        """
        from uncollapse.protocols.reading import study_of

        if self.compute:
            raise BadInput(
                f"{self.name} is computed exactly and has no runs; `uncollapse study run {self.name}` does it"
            )
        return study_of(self.settings(scale), f"{self.name}, scale {scale}")

    def changes(self, scale: str) -> dict[str, Any]:
        """What a scale changes."""
        if scale not in self.scales:
            raise BadInput(f"{self.name} has no scale {scale!r}; {nearest(scale, self.scales)}")
        return self.scales[scale]
