"""Plots as inline SVG whose colours and fonts belong to the page, so that they follow light and dark.

Matplotlib draws with stand-in colours, which become CSS variables; names of methods never pass through
matplotlib (a missing glyph or a `$` would disturb it) but replace stand-in words afterwards.
"""

import html
import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from uncollapse.report.load import number
from uncollapse.report.table import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "MARKS", "Scale", "frontier", "mark", "scale", "spectrum", "training"]

COLOURS, MARKS = 12, "osD^vPXhp<>"
INK, MUTED, RULE, PAPER = "#00aa01", "#00aa02", "#00aa03", "#00aa04"
VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", RULE: "var(--rule)", PAPER: "var(--card)"}
VARIABLES |= {f"#00bb{i:02x}": f"var(--s{i})" for i in range(COLOURS)}
FLOOR = 1e-5
MOST_SEEDS, MOST_POINTS = 8, 480
SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "path.simplify": True,
    "text.parse_math": False,
}


def colour(index: int) -> str:
    """The stand-in for the colour of the method at this place."""
    return f"#00bb{index % COLOURS:02x}"


def mark(index: int) -> str:
    """The marker of the method at this place; colours and markers repeat at different lengths."""
    return MARKS[index % len(MARKS)]


@contextmanager
def _figure(name: str, width: float, height: float) -> "Iterator[tuple[Figure, Axes]]":
    """A figure in page pixels, under our settings and no others, without pyplot's global state."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        parameters: Any = SETTINGS | {"svg.hashsalt": f"uncollapse-{name}"}
        matplotlib.rcParams.update(parameters)
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        yield figure, figure.add_axes((0, 0, 1, 1))


def _svg(figure: "Figure", label: str, words: dict[str, str] | None = None) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*|<style.*?</style>\s*|<!--.*?-->\s*", "", text, flags=re.S)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"| height="[^"]*pt"', r"\1", text)
    text = re.sub(r'="[^"]*"', lambda m: re.sub(r"-?\d+\.\d{3,}", _short, m[0]), text)
    used = set(re.findall(r"#([\w-]+)[\")]", text))
    text = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", text)
    for stand_in, variable in VARIABLES.items():
        text = text.replace(stand_in, variable)
    for word, meant in (words or {}).items():
        text = text.replace(f">{word}<", f">{html.escape(meant)}<")
    return text.replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}"', 1).strip()


def _short(match: re.Match[str]) -> str:
    """A coordinate to a hundredth of a pixel."""
    return f"{float(match[0]):.2f}".rstrip("0").rstrip(".")


class Scale(NamedTuple):
    """Limits that the panels of one page share, so that methods can be compared by eye."""

    epochs: float
    nats: float
    latents: int
    variance: float


def scale(results: Sequence[dict[str, Any]]) -> Scale:
    """The limits: information up to above log N, and KL up to three times that, beyond which it leaves the panel."""
    points = [entry for result in results for entry in _history(result)]
    ceilings = [x for result in results for x in _ceilings(result) if x]
    spectra = [_variances(result) for result in results]
    epochs = max((entry["epoch"] for entry in points), default=1.0)
    information = max([*ceilings, *(entry["mi_upper"] for entry in points if entry["mi_upper"])], default=1.0)
    rate = max((entry["kl"] for entry in points if entry["kl"]), default=0.0)
    ceiling = max(ceilings, default=information)
    top = max(ceiling, min(max(information, rate), 3 * ceiling)) * 1.12
    widest = max((max(values, default=0.0) for values in spectra), default=0.0)
    return Scale(max(epochs, 1e-9), max(top, 0.1), max(map(len, spectra), default=1), max(2.0, widest * 1.5))


def _history(result: dict[str, Any]) -> list[dict[str, Any]]:
    entries = [entry for entry in result.get("history") or [] if isinstance(entry, dict)]
    keys = ("epoch", "mi_lower", "mi_upper", "kl")
    rows = [{key: number(entry.get(key)) for key in keys} | {"bound": _bound(entry)} for entry in entries]
    return [row for row in rows if row["epoch"] is not None]


def _bound(entry: dict[str, Any]) -> float | None:
    """The largest bound that a contrastive term of this moment stands for."""
    bounds = entry.get("bounds")
    values = [number(x) for x in bounds.values()] if isinstance(bounds, dict) else []
    return max((x for x in values if x is not None), default=None)


def _ceilings(result: dict[str, Any]) -> tuple[float | None, float | None]:
    return number((result.get("mi") or {}).get("ceiling")), number(result.get("critic_ceiling"))


def _variances(result: dict[str, Any]) -> list[float]:
    values = [number(x) for x in result.get("spectrum") or []]
    return sorted((x for x in values if x is not None), reverse=True)


def _thin(entries: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """At most so many of the entries, evenly spread, the last one always among them."""
    if len(entries) <= most:
        return entries
    step = (len(entries) - 1) / (most - 1)
    return [entries[round(i * step)] for i in range(most)]


def _line(entries: list[dict[str, Any]], key: str) -> tuple[list[float], list[float]]:
    return [e["epoch"] for e in entries], [math.nan if e[key] is None else e[key] for e in entries]


def training(name: str, results: Sequence[dict[str, Any]], index: int, limits: Scale, label: str) -> str:
    """Bracket (a band), KL and critics' bounds over epochs, one line a seed, below log N and log K."""
    with _figure(name, 340, 210) as (figure, axes):
        axes.set_position((0.095, 0.16, 0.885, 0.8))
        axes.set_xlim(0, limits.epochs)
        axes.set_ylim(-0.02 * limits.nats, limits.nats)
        axes.grid(axis="y")
        axes.locator_params(axis="y", nbins=5, integer=limits.nats > 5)
        axes.locator_params(axis="x", nbins=6, integer=limits.epochs > 5)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("epochs", loc="right", labelpad=2, fontsize=10)
        for result in results[:MOST_SEEDS]:
            entries = _thin(_history(result), max(12, MOST_POINTS // len(results[:MOST_SEEDS])))
            x, low = _line(entries, "mi_lower")
            axes.fill_between(x, low, _line(entries, "mi_upper")[1], color=colour(index), alpha=0.22, linewidth=0)
            axes.plot(x, _line(entries, "kl")[1], color=colour(index), linewidth=1.1, dashes=(3.5, 2.5))
            axes.plot(x, low, color=colour(index))
            if any(entry["bound"] is not None for entry in entries):
                axes.plot(x, _line(entries, "bound")[1], color=INK, linewidth=1.0, dashes=(1.2, 1.6))
        _draw_ceilings(axes, results, limits)
        return _svg(figure, label)


def _draw_ceilings(axes: "Axes", results: Sequence[dict[str, Any]], limits: Scale) -> None:
    most, critic = _ceilings(results[0]) if results else (None, None)
    close = most is not None and critic is not None and abs(most - critic) < 0.12 * limits.nats
    for value, text, style in ((most, "log N", (0, ())), (critic, "log K", (0, (1, 2)))):
        if value is None or value > limits.nats:
            continue
        axes.axhline(value, color=MUTED, linewidth=0.9, linestyle=style)
        below = close and value == min(x for x in (most, critic) if x is not None)
        axes.annotate(
            text,
            (0, value),
            xytext=(3, -3 if below else 3),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="left",
            va="top" if below else "bottom",
            color=MUTED,
            fontsize=10,
        )


def spectrum(name: str, results: Sequence[dict[str, Any]], index: int, limits: Scale, label: str) -> str:
    """Var(mean) of each latent from largest to smallest, on a log scale, against the threshold 0.01."""
    with _figure(name, 340, 190) as (figure, axes):
        axes.set_position((0.125, 0.18, 0.855, 0.78))
        axes.set_yscale("log")
        axes.set_xlim(0.4, limits.latents + 0.6)
        axes.set_ylim(FLOOR * 0.6, limits.variance)
        axes.axhspan(FLOOR * 0.6, 0.01, color=RULE, alpha=0.35, linewidth=0)
        axes.axhline(0.01, color=MUTED, linewidth=0.9)
        axes.set_yticks([1e-4, 1e-2, 1], ["0.0001", "0.01", "1"])
        axes.spines["left"].set_visible(False)
        axes.locator_params(axis="x", nbins=6, integer=True)
        axes.set_xlabel("latents, sorted", loc="right", labelpad=2, fontsize=10)
        for result in results[:MOST_SEEDS]:
            values = [max(value, FLOOR) for value in _variances(result)]
            ranks = range(1, len(values) + 1)
            axes.plot(ranks, values, color=colour(index), linewidth=1.0, alpha=0.55)
            _draw_latents(axes, values, index, limits)
        return _svg(figure, label)


def _draw_latents(axes: "Axes", values: list[float], index: int, limits: Scale) -> None:
    """Filled dots above the threshold, hollow ones below."""
    if limits.latents > 64:
        return
    size = 5.5 if limits.latents <= 32 else 3.5
    active = sum(value >= 0.01 for value in values)
    for start, chosen, face in ((1, values[:active], colour(index)), (active + 1, values[active:], PAPER)):
        ranks = range(start, start + len(chosen))
        style: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": size, "markeredgewidth": 1.2}
        axes.plot(ranks, chosen, markerfacecolor=face, markeredgecolor=colour(index), clip_on=False, **style)


def frontier(rows: Sequence[Row], label: str) -> str:
    """NLL against information: small marks are seeds, large ones means; the better corner is lower right."""
    points = {i: _pairs(row) for i, row in enumerate(rows)}
    points = {i: found for i, found in points.items() if found}
    height = 380 + 11 * max(0, len(points) - 10)
    with _figure("frontier", 520, height) as (figure, axes):
        axes.set_position((0.115, 47.5 / height, 0.865, 1 - 59 / height))
        axes.grid()
        axes.set_xlabel("information kept, MI ≥ (nats)", loc="right", fontsize=12)
        axes.set_ylabel("NLL (nats)", loc="top", fontsize=12)
        axes.tick_params(labelsize=12)
        axes.margins(0.12, 0.14)
        words = {}
        for i, found in points.items():
            x, y = zip(*found, strict=True)
            style: dict[str, Any] = {"color": colour(i), "marker": mark(i), "linestyle": "none", "markeredgewidth": 0}
            mean = (sum(x) / len(x), sum(y) / len(y))
            for seed in found:
                axes.plot(*zip(mean, seed, strict=True), color=colour(i), linewidth=0.9, alpha=0.5)
            axes.plot(x, y, markersize=5, alpha=0.6, **style)
            axes.plot(*mean, markersize=10, **style)
        _draw_limit(axes, rows)
        if points:
            words = _draw_names(axes, rows, points, height - 18)
        return _svg(figure, label, words)


def _pairs(row: Row) -> list[tuple[float, float]]:
    x, y = row.cells["mi_lower"].values, row.cells["nll"].values
    return [(x[seed], y[seed]) for seed in sorted(x.keys() & y.keys())]


def _draw_limit(axes: "Axes", rows: Sequence[Row]) -> None:
    ceiling = min((row.ceiling for row in rows if row.ceiling), default=None)
    low, high = axes.get_xlim()
    low = min(low, 0.0) if low > -1 and low < 0.35 * high else low
    axes.set_xlim(low, high)
    if ceiling is None or ceiling > high + 0.5 * (high - low):
        return
    axes.set_xlim(low, max(high, ceiling + 0.04 * (ceiling - low)))
    axes.axvline(ceiling, color=MUTED, linewidth=0.9)
    place: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
    axes.annotate("log N", (ceiling, 1), xytext=(-4, -2), ha="right", va="top", color=MUTED, fontsize=12, **place)


def _draw_names(
    axes: "Axes", rows: Sequence[Row], points: dict[int, list[tuple[float, float]]], top: float
) -> dict[str, str]:
    """Write stand-in words beside the means, moved apart and then tied to them; return what each word stands for."""
    words: dict[str, str] = {}
    means = {i: [sum(v) / len(v) for v in zip(*found, strict=True)] for i, found in points.items()}
    marks = [axes.transData.transform(mean) for mean in means.values()]
    taken: list[tuple[float, float, float]] = [(x - 7, x + 7, y) for x, y in marks]
    ceiling = min((row.ceiling for row in rows if row.ceiling), default=math.inf)
    limit = min(514.0, axes.transData.transform((min(ceiling, axes.get_xlim()[1]), 0))[0] - 2)
    for (i, _), (column, line) in zip(means.items(), marks, strict=True):
        name = rows[i].arm if len(rows[i].arm) <= 22 else rows[i].arm[:21] + "…"
        width = 6.6 * len(name)
        right = column + 11 + width < (limit if column < limit else 514)
        left = column + 11 if right else column - 11 - width
        spots = [line + shift for k in range(20) for shift in (14 * k, -14 * k)]
        spots = [spot for spot in spots if 52 < spot < top] or [line]
        free = (s for s in spots if all(abs(s - t) >= 14 or left + width < a or left > b for a, b, t in taken))
        spot = next(free, line)
        taken.append((left, left + width, spot))
        words[f"name-{i}."] = name
        start, level = axes.transData.inverted().transform((column + (11 if right else -11), spot))
        if spot != line:
            ends = list(zip(means[i], (start, level), strict=True))
            axes.plot(*ends, color=colour(i), linewidth=0.7, alpha=0.8)
        axes.text(start, level, f"name-{i}.", ha="left" if right else "right", va="center", fontsize=12)
    return words
