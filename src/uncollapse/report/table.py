"""The table: methods by metrics, as numbers; `render` and `page` turn it into text."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev
from typing import Any, Literal

from uncollapse.report.load import number, order
from uncollapse.report.pairs import Difference, difference

__all__ = ["COLUMNS", "SEVERITY", "Cell", "Column", "Row", "rows", "show"]

SEVERITY = ("healthy", "prior hole", "partial collapse", "decoder ignores z", "off-prior collapse", "collapsed")


@dataclass(frozen=True)
class Column:
    """A metric in the table; `better` says which way is best, None that no way is."""

    key: str
    label: str
    unit: str
    digits: int
    better: Literal["lower", "higher", "one"] | None
    meaning: str


COLUMNS = (
    Column(
        "nll",
        "NLL",
        "nats",
        2,
        "lower",
        "Negative log-likelihood of held-out data by importance sampling: an upper bound that tightens with the "
        "number of samples. Lower is better.",
    ),
    Column(
        "kl",
        "KL",
        "nats",
        2,
        None,
        "Mean KL(q(z|x) ‖ p(z)), the rate. It counts information and mismatch with the prior together, so a large "
        "value proves nothing and no value is best.",
    ),
    Column(
        "mi_lower",
        "MI ≥",
        "nats",
        2,
        "higher",
        "The latent code holds at least this much information about its input: a sampled lower bound over the "
        "whole set, which cannot exceed log N.",
    ),
    Column(
        "mi_upper",
        "MI ≤",
        "nats",
        2,
        None,
        "The code holds at most this much information: mean KL(q(z|x) ‖ m), where m is the Gaussian with the "
        "aggregate posterior's moments.",
    ),
    Column(
        "active_units",
        "AU",
        "latents",
        1,
        "higher",
        "Active units: latents whose posterior mean varies over the data by at least 0.01 (Burda 2015).",
    ),
    Column(
        "density",
        "Density",
        "",
        3,
        "one",
        "How thickly prior samples lie where data lie (Naeem 2020). Equal distributions give 1; more than 1 means "
        "samples crowd into the easy regions, so the value closest to 1 is best.",
    ),
    Column(
        "coverage",
        "Coverage",
        "",
        3,
        "higher",
        "Share of data points with a prior sample in their neighbourhood (Naeem 2020). Higher is better; equal "
        "distributions give about 0.97 with five neighbours.",
    ),
    Column(
        "probe",
        "Probe",
        "",
        3,
        "higher",
        "Held-out accuracy of a logistic regression that reads the label off the posterior mean.",
    ),
)


@dataclass(frozen=True)
class Cell:
    """One metric of one method: mean and standard deviation (n - 1) over the seeds with a finite value."""

    values: dict[int, float]
    mean: float | None
    std: float | None
    best: bool = False
    difference: Difference | None = None

    @property
    def n(self) -> int:
        """How many seeds the mean rests on."""
        return len(self.values)


@dataclass(frozen=True)
class Row:
    """One method: its cells by column key, the seeds done of those asked for, and the majority verdict."""

    arm: str
    seeds: tuple[int, ...]
    expected: tuple[int, ...]
    cells: dict[str, Cell]
    verdict: str | None
    votes: int
    ceiling: float | None
    critic_ceiling: float | None
    saturated: bool
    baseline: bool
    note: str = ""
    verdicts: dict[int, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every seed asked for has a result."""
        return set(self.expected) <= set(self.seeds)

    @property
    def progress(self) -> str:
        """Such as "1 of 2 seeds"."""
        done = len(set(self.seeds) & set(self.expected))
        return f"{done} of {len(self.expected)} seed{'s' if len(self.expected) != 1 else ''}"

    @property
    def agreement(self) -> str:
        """Such as "2 of 3" where the seeds' verdicts differ, else empty."""
        return f"{self.votes} of {len(self.verdicts)}" if self.votes < len(self.verdicts) else ""


def rows(
    results: Sequence[dict[str, Any]],
    arms: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    baseline: str | None = None,
) -> list[Row]:
    """Compute the table: one row a method, in the order of `arms`, those without any result included.

    The best mean of a column is flagged among the rows that rest on the most seeds, ties at the printed
    precision together, and only where at least two methods compete. Differences to the baseline are paired by
    seed. A tie between verdicts goes to the worse one.

    Arguments:
        results: one dict a run, as `load_results` returns them.
        arms: the methods in order; default the order of the results.
        seeds: the seeds that each method should have; default every seed seen.
        baseline: the method that others are compared with; default the first.

    Raises:
        BadInput: when two results claim the same arm and seed.

    Example:
        >>> def result(arm, nll):
        ...     return {"arm": arm, "seed": 0, "metrics": {"nll": {"value": nll}}, "verdict": {"word": "healthy"}}
        >>> [(row.arm, row.cells["nll"].best) for row in rows([result("a", 2.0), result("b", 1.0)])]
        [('a', False), ('b', True)]
    """
    asked = {"arms": list(arms or []), "seeds": list(seeds or []), "baseline": baseline}
    header, ordered = order(asked, list(results))
    table = [_row(arm, [r for r in ordered if r["arm"] == arm], header) for arm in header["arms"]]
    table = [replace(row, cells=_compared(row, table)) for row in table]
    for column in COLUMNS:
        _flag_best(table, column)
    return table


def _row(arm: str, results: list[dict[str, Any]], header: dict[str, Any]) -> Row:
    verdicts = {r["seed"]: str(r["verdict"].get("word") or "unknown") for r in results}
    verdict, votes = _majority(list(verdicts.values()))
    mi = [r.get("mi") or {} for r in results]
    ceilings = [x for entry in mi if (x := number(entry.get("ceiling"))) is not None]
    critics = [x for r in results if (x := number(r.get("critic_ceiling"))) is not None]
    return Row(
        arm=arm,
        seeds=tuple(r["seed"] for r in results),
        expected=tuple(header["seeds"]),
        cells={column.key: _cell(column.key, results) for column in COLUMNS},
        verdict=verdict,
        votes=votes,
        ceiling=min(ceilings, default=None),
        critic_ceiling=max(critics, default=None),
        saturated=any(bool(entry.get("saturated")) for entry in mi),
        baseline=arm == header["baseline"],
        note=next((str(r["arm_note"]) for r in results if r.get("arm_note")), ""),
        verdicts=verdicts,
    )


def _cell(key: str, results: list[dict[str, Any]]) -> Cell:
    found = {r["seed"]: number((r["metrics"].get(key) or {}).get("value")) for r in results}
    values = {seed: value for seed, value in found.items() if value is not None}
    numbers = list(values.values())
    return Cell(values, fmean(numbers) if numbers else None, stdev(numbers) if len(numbers) > 1 else None)


def _majority(words: list[str]) -> tuple[str | None, int]:
    if not words:
        return None, 0
    counts = Counter(words)
    rank = {word: position for position, word in enumerate(SEVERITY)}
    word = max(counts, key=lambda word: (counts[word], rank.get(word, len(rank)), word))
    return word, counts[word]


def _compared(row: Row, table: list[Row]) -> dict[str, Cell]:
    base = next((other for other in table if other.baseline), None)
    if base is None or row.baseline:
        return row.cells
    return {
        key: replace(cell, difference=difference(cell.values, base.cells[key].values))
        for key, cell in row.cells.items()
    }


def _flag_best(table: list[Row], column: Column) -> None:
    cells = [row.cells[column.key] for row in table]
    most = max((cell.n for cell in cells), default=0)
    rivals = [cell for cell in cells if cell.n == most and cell.mean is not None]
    if column.better is None or len(rivals) < 2:
        return
    sign = {"lower": 1.0, "higher": -1.0, "one": 1.0}[column.better]
    shift = 1.0 if column.better == "one" else 0.0

    def cost(cell: Cell) -> float:
        mean = round(cell.mean or 0.0, column.digits)
        return round(sign * (abs(mean - shift) if shift else mean), column.digits)

    least = min(cost(cell) for cell in rivals)
    for row in table:
        cell = row.cells[column.key]
        if any(cell is rival for rival in rivals) and cost(cell) == least:
            row.cells[column.key] = replace(cell, best=True)


def show(x: float | None, digits: int = 2, sign: bool = False) -> str:
    """A number for people: fixed digits, no negative zero, a dash for none.

    Example:
        >>> show(-0.001), show(None), show(1.5, 1, sign=True), show(math.pi, 3)
        ('0.00', '–', '+1.5', '3.142')
    """
    if x is None or not math.isfinite(x):
        return "–"
    digits = max(0, digits - 1) if abs(x) >= 1000 else digits
    text = f"{x:+.{digits}f}" if sign else f"{x:.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")
