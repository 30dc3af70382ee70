"""The inputs one by one: their map, their KL against what they could hold, their colours."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from uncollapse.report.diagnosis.facts import tree
from uncollapse.report.diagnosis.figures import nice, tick
from uncollapse.report.diagnosis.words import NOTHING
from uncollapse.report.load import number
from uncollapse.report.table import show

__all__ = ["WIDTH", "Panel", "Point", "colours", "examples", "least", "local_panel", "map_panel", "step", "summary"]

WIDTH = 800  #: of map and local panel, in units of their viewBox
LABELLED = 24  #: classes that get a colour and a place in the legend


class Point(NamedTuple):
    """One example: its row, what was measured there, and where the means put it."""

    row: int
    information: float | None
    kl: float | None
    epsilon: float | None
    label: str
    x: float | None
    y: float | None


class Panel(NamedTuple):
    """A scatter plot.

    Attributes:
        height: in units of the viewBox, whose width is `WIDTH`.
        points: (example, cx, cy) each, in the order in which they are drawn.
        across: ticks of the horizontal axis as (percent, text).
        up: ticks of the vertical axis.
        line: x1, y1, x2, y2 of a line that divides the panel, or None.
        span: how much the width stands for, in units of the data; 0 where all points are one.
    """

    height: int
    points: list[tuple[Point, float, float]]
    across: list[tuple[float, str]]
    up: list[tuple[float, str]]
    line: tuple[float, float, float, float] | None
    span: float


def examples(local: Any) -> list[Point]:
    """The examples that were looked at one by one; a list that is missing or too short gives None."""
    found = tree(local)

    def at(name: str, i: int) -> Any:
        values = found.get(name)
        return values[i] if isinstance(values, list) and i < len(values) else None

    rows = found.get("rows")
    points = []
    for i, row in enumerate(rows if isinstance(rows, list) else []):
        place = at("map", i)
        x, y = (number(v) for v in place) if isinstance(place, list | tuple) and len(place) == 2 else (None, None)
        label = at("label", i)
        values = [number(at(name, i)) for name in ("information", "kl", "epsilon")]
        points.append(Point(int(row), values[0], values[1], values[2], "" if label is None else str(label), x, y))
    return points


def map_panel(points: Sequence[Point]) -> Panel | None:
    """The means in two dimensions, both axes to one scale; None where no example has a place."""
    placed = [(point, point.x, point.y) for point in points if point.x is not None and point.y is not None]
    if not placed:
        return None
    left, right = min(x for _, x, _ in placed), max(x for _, x, _ in placed)
    low, high = min(y for _, _, y in placed), max(y for _, _, y in placed)
    wide, tall, margin = right - left, high - low, 22
    height = round(min(max(WIDTH * tall / wide if wide > 1e-9 else WIDTH / 2, 320), 620))
    scale = min((WIDTH - 2 * margin) / max(wide, 1e-9), (height - 2 * margin) / max(tall, 1e-9))
    scale = scale if max(wide, tall) > 1e-9 else 0.0
    middle = ((left + right) / 2, (low + high) / 2)
    spots = [
        (p, round(WIDTH / 2 + scale * (x - middle[0]), 1), round(height / 2 - scale * (y - middle[1]), 1))
        for p, x, y in placed
    ]
    return Panel(height, _upmost(spots), [], [], None, WIDTH / scale if scale else 0.0)


def _upmost(spots: list[tuple[Point, float, float]]) -> list[tuple[Point, float, float]]:
    """Examples with the least information last, so that they are drawn over the others."""
    return sorted(spots, key=lambda spot: (-(spot[0].information or 0.0), spot[0].row))


def local_panel(points: Sequence[Point], tau: float | None) -> Panel | None:
    """KL against ε(x), and the line KL = τ ε; None where ε(x) was not measured."""
    known = [(p, p.epsilon, p.kl) for p in points if p.epsilon is not None and p.kl is not None]
    if not known:
        return None
    right = max(*(e for _, e, _ in known), 1e-6) * 1.04
    top = max(*(k for _, _, k in known), (tau or 0.0) * right, 1e-6) * 1.06
    height, margin = 460, 6
    wide, tall = WIDTH - 2 * margin, height - 2 * margin

    def spot(e: float, k: float) -> tuple[float, float]:
        return round(margin + wide * max(e, 0) / right, 1), round(height - margin - tall * max(k, 0) / top, 1)

    across = [(round(100 * spot(x, 0)[0] / WIDTH, 2), tick(x)) for x in nice(right)]
    up = [(round(100 - 100 * spot(0, y)[1] / height, 2), tick(y)) for y in nice(top, 4)]
    line = None if tau is None else (*spot(0, 0), *spot(right, tau * right))
    return Panel(height, _upmost([(p, *spot(e, k)) for p, e, k in known]), across, up, line, right)


def colours(points: Sequence[Point]) -> dict[str, Any]:
    """Seven steps of information from 0 to the largest, and the classes in the order of the legend."""
    top = max([*(p.information for p in points if p.information is not None), 1.5 * NOTHING])
    counts: dict[str, int] = {}
    for point in points:
        if point.label:
            counts[point.label] = counts.get(point.label, 0) + 1
    names = sorted(counts, key=lambda name: (-counts[name], name))
    legend = sorted(names[:LABELLED], key=_natural)
    others = [name for name in names if name not in set(legend)]
    return {
        "top": top, "steps": [show(top * i / 7) for i in range(8)], "legend": [(n, counts[n]) for n in legend],
        "others": len(others), "labels": [*legend, *others],
    }  # fmt: skip


def _natural(name: str) -> tuple[int, float, str]:
    try:
        value = float(name)
    except ValueError:
        return 1, 0.0, name
    return (0, value, name) if math.isfinite(value) else (1, 0.0, name)


def step(point: Point, top: float) -> int:
    """Which of the seven colours a point has."""
    return min(max(int(7 * (point.information or 0.0) / top), 0), 6)


def least(points: Sequence[Point], count: int = 12) -> list[Point]:
    """The examples that the code says least about."""
    known = [point for point in points if point.information is not None]
    return sorted(known, key=lambda point: (point.information or 0.0, point.row))[:count]


def summary(local: Mapping[str, Any], points: Sequence[Point]) -> dict[str, Any]:
    """The few numbers above the local panels."""
    empty = sum(point.information is not None and point.information < NOTHING for point in points)
    known = sum(point.information is not None for point in points)
    return {
        "shown": len(points), "empty": empty, "known": known,
        "share": number(local.get("collapsed_share")),
        "by_information": number(local.get("collapsed_by_information")), "tau": number(local.get("tau")),
        "map_share": number(local.get("map_share")),
    }  # fmt: skip
