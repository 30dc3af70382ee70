"""What the figure of a protocol shows, as plain panels: lines, bars or a heat map."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from uncollapse.protocols.spec import Figure, Protocol
from uncollapse.protocols.table import cell, cited
from uncollapse.protocols.values import along, read_values
from uncollapse.protocols.words import ALONG, label
from uncollapse.report.load import number

__all__ = ["panels"]

Results = Sequence[Mapping[str, Any]]


def panels(protocol: Protocol, arms: Sequence[str], results: Results) -> list[dict[str, Any]]:
    """The panels of a figure; none where no run has what it shows.

    Returns:
        Dicts with kind, title, x and y, and `series` [{arm, points}] of lines, `bars` [{arm, mean, std, published}] or
        `rows`, `columns` and `values` of a heat map.
    """
    figure = protocol.figure
    if figure.kind == "history":
        made = [history(key, arms, results) for key in figure.metrics]
    elif figure.kind == "noise":
        made = [noise(arms, results)]
    elif figure.kind == "bars":
        made = [bars(key, protocol, arms, results) for key in figure.metrics]
    elif figure.kind == "heat":
        made = [heat(key, figure, results) for key in figure.metrics]
    else:
        made = []
    return [one for one in made if one]


def history(key: str, arms: Sequence[str], results: Results) -> dict[str, Any]:
    """A number along training, one line a run."""
    series = []
    for arm in arms:
        for result in (one for one in results if one["arm"] == arm):
            points = [[number(entry.get("epoch")), along(entry, key)] for entry in result.get("history") or []]
            kept = [point for point in points if None not in point]
            series += [{"arm": arm, "points": kept}] if kept else []
    name = ALONG.get(key) or label(key)
    return {"kind": "lines", "title": name, "x": "epochs", "y": "", "series": series} if series else {}


def noise(arms: Sequence[str], results: Results) -> dict[str, Any]:
    """Loss of log likelihood against the variance of the noise, means over the seeds."""
    series = []
    for arm in arms:
        tests = [one["noise"] for one in results if one["arm"] == arm and one.get("noise")]
        points = []
        for variance in [one["variance"] for one in tests[0]] if tests else ():
            values = [number(one["value"]) for test in tests for one in test if one["variance"] == variance]
            finite = [value for value in values if value is not None]
            points += [[float(variance), fmean(finite)]] if finite else []
        series += [{"arm": arm, "points": points}] if points else []
    title = "loss of log likelihood, nats"
    return {"kind": "lines", "title": title, "x": "variance of the noise", "y": "", "series": series} if series else {}


def bars(key: str, protocol: Protocol, arms: Sequence[str], results: Results) -> dict[str, Any]:
    """A bar a method, with what was published beside its own formula."""
    name = key.removeprefix("legacy.")
    named = protocol.published.columns.items()
    columns = [c for c, one in named if one.legacy == name or (one.legacy is None and key in one.right)]
    found = []
    for arm in arms:
        mine = cell(read_values(arm, key, results))
        printed = protocol.published.rows.get(arm, {}).get(columns[0]) if columns else None
        found.append({"arm": arm, "published": cited(printed)["mean"] if printed is not None else None,
                      **(mine or {"mean": None, "std": None})})  # fmt: skip
    title = f"{label(name)}, their formula" if key.startswith("legacy.") else label(key)
    return {"kind": "bars", "title": title, "bars": found} if any(one["mean"] is not None for one in found) else {}


def heat(key: str, figure: Figure, results: Results) -> dict[str, Any]:
    """Means over the seeds at every pair of two settings."""
    rows, columns = figure.rows.get("values", []), figure.columns.get("values", [])
    values = []
    for row in rows:
        cells = [cell(read_values(figure.arm.format(row=row, column=column), key, results)) for column in columns]
        values.append([None if one is None else one["mean"] for one in cells])
    if not any(value is not None for line in values for value in line):
        return {}
    return {"kind": "heat", "title": label(key.removeprefix("legacy.")), "rows": [str(one) for one in rows],
            "columns": [str(one) for one in columns], "values": values, "x": str(figure.columns.get("label", "")),
            "y": str(figure.rows.get("label", ""))}  # fmt: skip
