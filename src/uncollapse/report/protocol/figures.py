"""The figure of a protocol from plain panels: lines over training, bars beside what was published, heat maps."""

import html
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from uncollapse.report import figures
from uncollapse.report.table import show

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["figure", "legend"]

WIDTH, HEIGHT = 520, 260
MOST_POINTS = 200


def figure(panels: Sequence[Mapping[str, Any]], title: str = "") -> list[str]:
    """One SVG a panel, in the colours of the page.

    Arguments:
        panels: dicts with `kind` "lines", "bars" or "heat".
        title: for those who do not see the figure.
    """
    order = list(dict.fromkeys(arm for panel in panels for arm in names(panel)))
    return [drawn(f"protocol-{i}", panel, order, title) for i, panel in enumerate(panels)]


def names(panel: Mapping[str, Any]) -> list[str]:
    """The methods in a panel."""
    return [str(one["arm"]) for one in panel.get("series") or panel.get("bars") or []]


def legend(panels: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    """Every method with the number of its colour."""
    order = list(dict.fromkeys(arm for panel in panels for arm in names(panel)))
    return [(arm, i % figures.COLOURS) for i, arm in enumerate(order)]


def drawn(name: str, panel: Mapping[str, Any], order: Sequence[str], title: str) -> str:
    """One panel; names never pass through matplotlib but replace stand-in words."""
    kind = panel["kind"]
    height = HEIGHT if kind == "lines" else 60 + 34 * max(len(panel.get("bars") or panel.get("rows") or []), 2)
    words: dict[str, str] = {}
    with figures._figure(name, WIDTH, height) as (made, axes):
        axes.set_position((0.12, 44 / height, 0.85, 1 - 60 / height))
        if kind == "lines":
            lines(axes, panel, order)
        elif kind == "bars":
            words = bars(axes, panel, order)
        else:
            words = heat(axes, panel)
        axes.set_title(panel["title"].replace("$", ""), loc="left", fontsize=12, color=figures.INK)
        return figures._svg(made, html.unescape(f"{title}: {panel['title']}. {spoken(panel)}"), words)


def spoken(panel: Mapping[str, Any]) -> str:
    """The ends of the lines, or the values, in words."""
    if panel["kind"] == "lines":
        return "; ".join(f"{one['arm']} ends at {show(one['points'][-1][1])}" for one in panel["series"])
    if panel["kind"] == "bars":
        return "; ".join(f"{one['arm']}: {show(one['mean'])}" for one in panel["bars"])
    pairs = [(r, c, x) for r, line in zip(panel["rows"], panel["values"], strict=True)
             for c, x in zip(panel["columns"], line, strict=True)]  # fmt: skip
    return "; ".join(f"{panel['y']} {r}, {panel['x']} {c}: {show(x)}" for r, c, x in pairs)


def lines(axes: "Axes", panel: Mapping[str, Any], order: Sequence[str]) -> None:
    """One line a run, in the colour of its method; a marker where there are few points."""
    axes.grid(axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(panel.get("x", ""), loc="right", labelpad=2, fontsize=10)
    if panel.get("log_x"):
        axes.set_xscale("log")
    if panel.get("log_y"):
        axes.set_yscale("log")
    for one in panel["series"]:
        step = max(1, math.ceil(len(one["points"]) / MOST_POINTS))
        kept = [*one["points"][::step], one["points"][-1]]
        i = order.index(str(one["arm"]))
        dashes = {"linestyle": (0, (3.5, 2.5))} if one.get("dashed") else {}
        few = {"marker": figures.mark(i), "markersize": 4} if len(kept) < 15 else {}
        axes.plot(*zip(*kept, strict=True), color=figures.colour(i), linewidth=1.3, **dashes, **few)  # type: ignore[arg-type]


def bars(axes: "Axes", panel: Mapping[str, Any], order: Sequence[str]) -> dict[str, str]:
    """A bar a method with its standard deviation, and a hollow mark where the paper has it."""
    found = panel["bars"]
    axes.grid(axis="x")
    for place, one in enumerate(found):
        i = order.index(str(one["arm"]))
        if one["mean"] is not None:
            axes.barh(place, one["mean"], height=0.56, color=figures.colour(i), alpha=0.75)
        if one["mean"] is not None and one.get("std"):
            axes.plot(
                [one["mean"] - one["std"], one["mean"] + one["std"]], [place, place], color=figures.INK, linewidth=1
            )
        if one.get("published") is not None:
            style: dict[str, Any] = {"markerfacecolor": figures.PAPER, "markeredgecolor": figures.INK, "markersize": 8}
            axes.plot(one["published"], place, marker="D", linestyle="none", **style)
    axes.set_position((0.3, axes.get_position().y0, 0.66, axes.get_position().height))
    axes.set_yticks(range(len(found)), [f"bar-{place}." for place in range(len(found))])
    axes.invert_yaxis()
    return {f"bar-{place}.": cut(str(one["arm"])) for place, one in enumerate(found)}


def heat(axes: "Axes", panel: Mapping[str, Any]) -> dict[str, str]:
    """Values of two settings: the number in every cell, darker for larger ranks, so that outliers hide nothing."""
    values = panel["values"]
    ranks = sorted({x for line in values for x in line if x is not None})
    for y, line in enumerate(values):
        for x, value in enumerate(line):
            share = 0.0 if value is None or len(ranks) < 2 else ranks.index(value) / (len(ranks) - 1)
            axes.barh(y, 0.96, left=x - 0.48, height=0.92, color=figures.colour(1), alpha=0.08 + 0.55 * share)
            axes.text(x, y, short(value), ha="center", va="center", color=figures.INK, fontsize=11)
    axes.set_xlim(-0.5, len(panel["columns"]) - 0.5)
    axes.set_ylim(len(panel["rows"]) - 0.5, -0.5)
    axes.set_xticks(range(len(panel["columns"])), [f"column-{i}." for i in range(len(panel["columns"]))])
    axes.set_yticks(range(len(panel["rows"])), [f"row-{i}." for i in range(len(panel["rows"]))])
    axes.set_xlabel(panel.get("x", ""), loc="right", fontsize=10)
    axes.set_ylabel(panel.get("y", ""), loc="top", fontsize=10)
    return {f"column-{i}.": cut(one) for i, one in enumerate(panel["columns"])} | {
        f"row-{i}.": cut(one) for i, one in enumerate(panel["rows"])
    }


def short(value: float | None) -> str:
    """A number of any size in few signs."""
    if value is None:
        return "–"
    return show(value, 2) if abs(value) < 100 else f"{value:.3g}"


def cut(text: str, most: int = 22) -> str:
    """A name that fits beside its bar."""
    return text if len(text) <= most else text[: most - 1] + "…"
