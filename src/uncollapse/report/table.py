"""The table: methods by metrics, as numbers; `render` and `page` turn it into text."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev
from typing import Any

from uncollapse.report.columns import COLUMNS, OPTIONAL, Column
from uncollapse.report.comparable import Basis, basis, remark
from uncollapse.report.load import number, order
from uncollapse.report.pairs import Difference, difference
from uncollapse.report.words import SEVERITY

__all__ = ["COLUMNS", "SEVERITY", "Cell", "Column", "Row", "references", "rows", "show", "unranked", "visible"]

HEAVY = "Pareto k above"  #: how the flag of heavy-tailed importance weights begins


@dataclass(frozen=True)
class Cell:
    """One metric of one method: mean and standard deviation (n - 1) over the seeds with a finite value.

    `loose` says that a run's importance weights were heavy-tailed, so that its bound may be far from the truth.
    """

    values: dict[int, float]
    mean: float | None
    std: float | None
    best: bool = False
    difference: Difference | None = None
    loose: bool = False

    @property
    def n(self) -> int:
        """How many seeds the mean rests on."""
        return len(self.values)


@dataclass(frozen=True)
class Row:
    """One method: its cells by column key, the seeds done of those asked for, and the majority verdict.

    `reference` holds, by column key and seed, what real training examples score in place of the model's samples;
    `bases` the data and likelihoods that its runs were measured on.
    """

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
    reference: dict[str, dict[int, float]] = field(default_factory=dict)
    bases: tuple[Basis, ...] = ()

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

    @property
    def crossed(self) -> bool:
        """Whether sampling noise has put the lower bound of the information above the upper one, as printed."""
        low, high = self.cells["mi_lower"].mean, self.cells["mi_upper"].mean
        return low is not None and high is not None and round(low, 2) > round(high, 2)

    @property
    def bracket(self) -> tuple[Cell, Cell]:
        """The cells of the two bounds of the information, the smaller mean first."""
        low, high = self.cells["mi_lower"], self.cells["mi_upper"]
        return (high, low) if self.crossed else (low, high)


def visible(table: "Sequence[Row]") -> list[Column]:
    """The columns of a table: those that are always shown, and the others where any method has a value."""
    has = {key for row in table for key, cell in row.cells.items() if cell.values}
    return [column for column in COLUMNS if column.key in has or column.key not in OPTIONAL]


def rows(
    results: Sequence[dict[str, Any]],
    arms: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    baseline: str | None = None,
) -> list[Row]:
    """Compute the table: one row a method, in the order of `arms`, those without any result included.

    The best mean of a column is flagged among the rows that rest on the most seeds, ties at the printed
    precision together, and only where at least two methods compete. Differences to the baseline are paired by
    seed. A tie between verdicts goes to the worse one. Where the results rest on different data or likelihoods
    (`unranked`), no mean is flagged and no difference is taken.

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
    if unranked(table):
        return table
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
        reference={key: found for key in ("density", "coverage") if (found := _reference(key, results))},
        bases=tuple(dict.fromkeys(basis(r) for r in results)),
    )


def _reference(key: str, results: list[dict[str, Any]]) -> dict[int, float]:
    found = {r["seed"]: number((r.get("reference") or {}).get(key)) for r in results}
    return {seed: value for seed, value in found.items() if value is not None}


def references(rows: Sequence[Row]) -> dict[str, float]:
    """What real training examples score in density and coverage: means over the runs, empty where none may be taken."""
    if unranked(rows):
        return {}
    found = {key: [x for row in rows for x in row.reference.get(key, {}).values()] for key in ("density", "coverage")}
    return {key: fmean(values) for key, values in found.items() if values}


def unranked(rows: Sequence[Row]) -> str:
    """Why the rows may not be ranked, in a sentence that names the methods; empty where they may."""
    return remark((row.arm, row.bases) for row in rows)


def _cell(key: str, results: list[dict[str, Any]]) -> Cell:
    found = {r["seed"]: number((r["metrics"].get(key) or {}).get("value")) for r in results}
    values = {seed: value for seed, value in found.items() if value is not None}
    numbers = list(values.values())
    flags = [str(flag) for r in results for flag in (r["metrics"].get(key) or {}).get("flags") or []]
    loose = key == "nll" and any(HEAVY in flag for flag in flags)
    spread = stdev(numbers) if len(numbers) > 1 else None
    return Cell(values, fmean(numbers) if numbers else None, spread, loose=loose)


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
    shift = references(table).get(column.key, 1.0) if column.better == "one" else 0.0

    def cost(cell: Cell) -> float:
        mean = round(cell.mean or 0.0, column.digits)
        return round(sign * (abs(mean - shift) if column.better == "one" else mean), column.digits)

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
