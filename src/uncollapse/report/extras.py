"""Tables of what only some studies measure: the noise test, and a critic's bound beside the bracket over training."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from uncollapse.report.load import number
from uncollapse.report.render import escape_markdown
from uncollapse.report.table import show

__all__ = ["bound_table", "noise_table"]

MOMENTS = 6  #: validations shown of a run


def noise_table(arms: Sequence[str], results: Sequence[Mapping[str, Any]]) -> str:
    """Loss of log likelihood under noise on z, by method and variance, means over seeds; empty where none has it."""
    found = {arm: [r["noise"] for r in results if r["arm"] == arm and r.get("noise")] for arm in arms}
    tests = {arm: runs for arm, runs in found.items() if runs}
    if not tests:
        return ""
    variances = [one["variance"] for one in next(iter(tests.values()))[0]]
    lines = [["Method", *(f"s² = {s2:g}" for s2 in variances)], ["---", *["---:"] * len(variances)]]
    for arm, runs in tests.items():
        means = [mean([one["value"] for run in runs for one in run if one["variance"] == s2]) for s2 in variances]
        lines.append([escape_markdown(arm), *(show(value, 1) for value in means)])
    return "\nLoss of log likelihood under noise of variance s² on every code, nats:\n\n" + pipes(lines)


def bound_table(arms: Sequence[str], results: Sequence[Mapping[str, Any]]) -> str:
    """The bound that a critic's loss stands for beside the bracket, at moments of the first run of each method."""
    lines = [["Method", "step", "bound", "MI ≥", "MI ≤"], ["---", *["---:"] * 4]]
    for arm in arms:
        history = next((r.get("history") or [] for r in results if r["arm"] == arm), [])
        seen = [one for one in history if one.get("bounds") and "mi_lower" in one]
        picked = seen[:: max(1, -(-len(seen) // MOMENTS))]
        for one in [*picked, *([seen[-1]] if seen and seen[-1] is not picked[-1] else [])]:
            values = [max(one["bounds"].values()), one["mi_lower"], one["mi_upper"]]
            lines.append([escape_markdown(arm), str(one["step"]), *(show(number(value), 2) for value in values)])
    if len(lines) == 2:
        return ""
    return "\nA critic's bound on training batches beside the bracket of the validation part, first seed:\n\n" + pipes(
        lines
    )


def mean(values: Sequence[Any]) -> float | None:
    """Mean of the finite values."""
    finite = [value for value in map(number, values) if value is not None]
    return fmean(finite) if finite else None


def pipes(lines: Sequence[Sequence[str]]) -> str:
    """Rows of cells as a pipe table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
