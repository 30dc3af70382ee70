"""Geometry of the figures that a reader can touch: numbers in, coordinates out; the template draws them.

Everything is drawn in the units of a `viewBox` and labelled in HTML, so that words keep their size on a phone.
"""

import math
from collections.abc import Sequence
from typing import Any

from uncollapse.report.diagnosis.facts import Bracket
from uncollapse.report.diagnosis.latents import Latent
from uncollapse.report.diagnosis.words import NOTHING

__all__ = ["bars", "bracket_bar", "level", "nice", "tick"]

FLOOR = 1e-5  #: variances below are drawn at the bottom


def nice(high: float, most: int = 5) -> list[float]:
    """Round numbers from 0 to `high`, at most `most` of them beside the 0.

    Example:
        >>> nice(7.3), nice(0.0), nice(128.0)
        ([0.0, 2.0, 4.0, 6.0], [0.0], [0.0, 50.0, 100.0])
    """
    if not high > 0:
        return [0.0]
    size = 10.0 ** math.floor(math.log10(high / most))
    step = next(size * k for k in (1, 2, 5, 10) if size * k * most >= high)
    return [step * i for i in range(int(high / step + 1e-9) + 1)]


def tick(value: float) -> str:
    """A tick in as few digits as it needs."""
    return f"{value:,.0f}" if value == round(value) and value < 1e6 else f"{value:.6g}"


def bracket_bar(found: Bracket) -> dict[str, Any]:
    """The bracket from 0 to a little above its ceiling, in percent of the bar's length.

    A KL, or an upper bound, that lies beyond three ceilings leaves the bar.
    """
    reach = [x for x in (found.upper, found.kl) if x is not None and x <= 3 * found.ceiling]
    end = 1.04 * max([found.ceiling, *reach])

    def place(x: float) -> float:
        return round(100 * min(max(x / end, 0.0), 1.0), 2)

    return {
        "lower": place(found.lower), "upper": place(found.upper), "ceiling": place(found.ceiling),
        "kl": place(found.kl) if found.kl is not None and found.kl <= end else None,
        "beyond": found.kl if found.kl is not None and found.kl > end else None,
        "open": found.upper > end,
        "ticks": [(place(x), tick(x)) for x in nice(end)],
    }  # fmt: skip


def bars(found: Sequence[Latent]) -> dict[str, Any]:
    """KL split and variance of the means of every latent, most information first, as paths in a box of 1000 by 1000.

    The script draws the same paths again in another order, from the numbers beside them.
    """
    order = sorted(found, key=lambda latent: (-(latent.information or 0.0), -(latent.kl or 0.0), latent.index))
    tops = [max(one.information or 0.0, 0.0) + max(one.mismatch or 0.0, 0.0) for one in order]
    top = max([*tops, 1.5 * NOTHING]) * 1.06
    widest = max([2.0, *((one.variance or 0.0) * 1.5 for one in order)])
    return {
        "order": order, "top": top, "widest": widest,
        "up": [(round(100 * x / top, 2), tick(x)) for x in nice(top, 4)],
        "logs": [(round(level(x, widest) / 10, 2), text) for x, text in
                 ((1e-4, "0.0001"), (1e-2, "0.01"), (1.0, "1"), (100.0, "100"), (1e4, "10,000")) if x <= widest],
        "threshold": level(0.01, widest),
        "dot": 7 if len(order) <= 64 else 4 if len(order) <= 256 else 2.5,
        "data": {key: " ".join(_short(getattr(one, key)) for one in found)
                 for key in ("kl", "information", "mismatch", "variance")},
        **_paths(order, top, widest),
    }  # fmt: skip


def level(variance: float, widest: float) -> float:
    """The height of a variance on its log scale, from 0 to 1000."""
    return 1000 * math.log(max(variance, FLOOR) / FLOOR) / math.log(widest / FLOOR)


def _paths(order: Sequence[Latent], top: float, widest: float) -> dict[str, str]:
    step = 1000 / max(len(order), 1)
    gap = 0.14 * step if len(order) <= 200 else 0.0
    told: list[str] = []
    moved: list[str] = []
    active: list[str] = []
    idle: list[str] = []
    for i, one in enumerate(order):
        left, right = f"{i * step + gap:.5g}", f"{(i + 1) * step - gap:.5g}"
        low = max(one.information or 0.0, 0.0) * 1000 / top
        high = low + max(one.mismatch or 0.0, 0.0) * 1000 / top
        if low:
            told.append(f"M{left} 1000V{1000 - low:.5g}H{right}V1000z")
        if high > low:
            moved.append(f"M{left} {1000 - low:.5g}V{1000 - high:.5g}H{right}V{1000 - low:.5g}z")
        if one.variance is not None:
            dot = f"M{(i + 0.5) * step:.5g} {1000 - level(one.variance, widest):.5g}h0"
            (active if one.variance >= 0.01 else idle).append(dot)
    return {"told": "".join(told), "moved": "".join(moved), "active": "".join(active), "idle": "".join(idle)}


def _short(x: float | None) -> str:
    return "–" if x is None else f"{x:.4g}"
