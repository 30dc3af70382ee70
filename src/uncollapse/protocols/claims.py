r"""Whether a claim of a paper holds on our runs, decided from the seeds.

A condition is decided by the mean over the seeds and its 95 % interval $\bar d \pm t_{0.975,n-1}\, s/\sqrt n$, of
differences or ratios paired by seed where two methods are compared.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, Final, Literal, NamedTuple

from uncollapse.protocols.spec import Claim, Part
from uncollapse.protocols.values import Reading, read_values
from uncollapse.protocols.words import label
from uncollapse.report.pairs import student_quantile
from uncollapse.report.table import show

__all__ = ["Judged", "Measured", "judge", "measured"]

Word = Literal["holds", "does not hold", "cannot be told"]
HOLDS: Final = "holds"
FAILS: Final = "does not hold"
OPEN: Final = "cannot be told"


class Measured(NamedTuple):
    """Mean and 95 % interval of a quantity over the seeds; without an interval where there is one seed.

    `floor` says that the truth may be above it (an estimator at its cap), `ceiling` that it may be below.
    """

    mean: float
    low: float | None
    high: float | None
    n: int
    floor: bool = False
    ceiling: bool = False
    exact: bool = False


@dataclass(frozen=True)
class Judged:
    """The verdict on a claim.

    Attributes:
        say: the claim.
        word: "holds", "does not hold" or "cannot be told".
        reasons: a sentence for each condition.
        because: why these conditions decide it.
    """

    say: str
    word: Word
    reasons: tuple[str, ...]
    because: str = ""


def judge(claim: Claim, results: Sequence[Mapping[str, Any]], computed: Mapping[str, Any] | None = None) -> Judged:
    """Decide a claim.

    It holds when every condition does, does not hold when one does not, and cannot be told otherwise.

    Arguments:
        claim: what the paper says.
        results: one dict a run, as `report.load_results` returns them.
        computed: what an exact computation returned, in place of runs.

    Example:
        >>> claim = Claim("more information", [Part("mi_lower", arm="a", minus="b", at_least=1)])
        >>> runs = [{"arm": arm, "seed": seed, "metrics": {"mi_lower": {"value": value + seed / 10}}}
        ...         for arm, value in (("a", 3.0), ("b", 1.0)) for seed in (0, 1)]
        >>> judge(claim, runs).word
        'holds'
    """
    decided = [decide(part, measured(part, results, computed)) for part in claim.parts]
    words = [word for word, _ in decided]
    word: Word = FAILS if FAILS in words else OPEN if OPEN in words or not words else HOLDS
    return Judged(claim.say, word, tuple(reason for _, reason in decided), claim.because)


def measured(
    part: Part, results: Sequence[Mapping[str, Any]], computed: Mapping[str, Any] | None = None
) -> Measured | None:
    """The quantity of a condition over the seeds that have all its values; None where there is none."""
    one = read_values(part.arm, part.metric, results, computed)
    other = second(part, results, computed)
    if not one or other == {}:
        return None
    pairs = [(one[key], None if other is None else other[key]) for key in one if other is None or key in other]
    values = [combined(a, b, part) for a, b in pairs]
    values = [value for value in values if math.isfinite(value)]
    if not values:
        return None
    floor = any(a.capped for a, _ in pairs)
    ceiling = any(b is not None and b.capped for _, b in pairs)
    return interval(values, floor and not part.printed, ceiling and not part.printed, pairs)


def second(
    part: Part, results: Sequence[Mapping[str, Any]], computed: Mapping[str, Any] | None
) -> dict[Any, Reading] | None:
    """What is subtracted or divides, by seed; None where nothing is."""
    if not (part.minus or part.over or part.minus_metric):
        return None
    return read_values(part.over or part.minus or part.arm, part.minus_metric or part.metric, results, computed)


def combined(one: Reading, other: Reading | None, part: Part) -> float:
    """A value, a difference or a ratio."""
    if other is None:
        return one.value
    if part.over:
        return one.value / other.value if other.value else math.nan
    return one.value - other.value


def interval(
    values: list[float], floor: bool, ceiling: bool, pairs: Sequence[tuple[Reading, Reading | None]]
) -> Measured:
    """Student's interval of the mean; an exact value is its own interval, wider by its error where one is known."""
    n, mean = len(values), fmean(values)
    first, other = pairs[0]
    if n == 1 and first.exact:
        half = 1.96 * math.hypot(first.se, 0.0 if other is None else other.se)
        return Measured(mean, mean - half, mean + half, 1, floor, ceiling, exact=True)
    if n == 1:
        return Measured(mean, None, None, 1, floor, ceiling)
    half = student_quantile(n - 1) * stdev(values) / math.sqrt(n)
    return Measured(mean, mean - half, mean + half, n, floor, ceiling)


def decide(part: Part, found: Measured | None) -> tuple[Word, str]:
    """The verdict on one condition, with its reason in words."""
    asked = f"{quantity(part)} {condition(part)}"
    if found is None:
        return OPEN, f"{asked}: no run has measured it"
    if found.low is None or found.high is None:
        return OPEN, f"{asked}: one seed ({show(found.mean, 3)})"
    word = inside(part, found.low, found.high)
    said = f"{asked}: {spread(found)}"
    if (word == HOLDS and not safe(part, found)) or (word == FAILS and not refuted(part, found)):
        where = "elsewhere" if found.floor and found.ceiling else "higher" if found.floor else "lower"
        return OPEN, f"{said}, but the estimator is at its cap, so that the truth may lie {where}"
    return word, said if word != OPEN else f"{said}: the interval has the bound inside"


def safe(part: Part, found: Measured) -> bool:
    """Whether a cap leaves "holds" standing: a floor of the truth above a bound is still above it."""
    up, down = part.at_least is not None, part.at_most is not None
    return not ((found.floor and not up) or (found.ceiling and not down))


def refuted(part: Part, found: Measured) -> bool:
    """Whether a cap leaves "does not hold" standing: a floor of the truth above the range is outside all the same."""
    least, most = bounds(part)
    too_low, too_high = (found.high or 0.0) < least, (found.low or 0.0) > most
    return not ((too_low and found.floor) or (too_high and found.ceiling))


def bounds(part: Part) -> tuple[float, float]:
    """Where the condition wants the quantity to lie."""
    if part.near is not None:
        return part.near - (part.within or 0.0), part.near + (part.within or 0.0)
    least, most = part.at_least, part.at_most
    return -math.inf if least is None else least, math.inf if most is None else most


def inside(part: Part, low: float, high: float) -> Word:
    """Where the interval lies: wholly where the condition wants it, wholly elsewhere, or neither."""
    least, most = bounds(part)
    if low >= least and high <= most:
        return HOLDS
    return FAILS if high < least or low > most else OPEN


def spread(found: Measured) -> str:
    """Mean and interval in words."""
    if found.exact:
        return f"{show(found.mean, 4)}, computed"
    return f"{show(found.mean, 3)}, 95 % interval {show(found.low, 3)} to {show(found.high, 3)} over {found.n} seeds"


def quantity(part: Part) -> str:
    """What a condition is about, in words."""
    name = f"{label(part.metric)} of {part.arm}" if part.arm else label(part.metric)
    if part.over:
        return f"{name} over that of {part.over}"
    if part.minus_metric:
        return f"{name} minus {label(part.minus_metric)}" + (f" of {part.minus}" if part.minus else "")
    return f"{name} minus that of {part.minus}" if part.minus else name


def condition(part: Part) -> str:
    """What a condition asks, in words."""
    if part.near is not None:
        return f"within {part.within:g} of {part.near:g}"
    return f"at least {part.at_least:g}" if part.at_least is not None else f"at most {part.at_most:g}"
