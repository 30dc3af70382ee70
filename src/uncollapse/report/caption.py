"""What a reader must know to read the table: signs, arrows and the paragraph under it."""

from collections.abc import Sequence

from uncollapse.report.headline import listed
from uncollapse.report.table import COLUMNS, Cell, Column, Row, references, show, unranked, visible

__all__ = ["arrow", "caption", "marks"]

ARROWS = {"lower": "↓", "higher": "↑", "one": "→1", None: ""}
LOOSE = (
    "† importance weights are heavy-tailed (Pareto k above 0.7 for more than a tenth of the examples): the bound may "
    "be loose."
)


def arrow(column: Column, rows: Sequence[Row]) -> str:
    """Which way is better: "↓", "↑", "→" with the value to come close to, or nothing."""
    if column.better == "one" and column.key in (known := references(rows)):
        return f"→{show(known[column.key])}"
    return ARROWS[column.better]


def marks(cell: Cell) -> str:
    """The signs behind a mean: * told apart from the baseline, † heavy-tailed importance weights."""
    return ("*" if cell.difference and cell.difference.marked else "") + ("†" if cell.loose else "")


def caption(rows: Sequence[Row], left_out: Sequence[str] = ()) -> str:
    """What a reader must know to read the table, in one paragraph; `left_out` are keys of columns without room."""
    parts = [
        unranked(rows),
        _spread(rows),
        _bounds(rows),
        _critics(rows, "critic" in left_out),
        _reference(rows, left_out),
    ]
    base = next((row.arm for row in rows if row.baseline), None)
    if any(cell.difference and cell.difference.n > 1 for row in rows for cell in row.cells.values()):
        parts.append(f"* the paired 95 % interval of the difference to {base} excludes zero.")
    if any(row.cells["nll"].loose for row in rows):
        parts.append(LOOSE)
    labels = [column.label for column in visible(rows) if column.key in left_out]
    if labels:
        parts.append(f"Left out here: {', '.join(labels)}; see the page or --format csv.")
    return " ".join(part for part in parts if part)


def _spread(rows: Sequence[Row]) -> str:
    seeds = max((len(row.expected) for row in rows), default=0)
    return "Mean (standard deviation over seeds)." if seeds > 1 else "One seed, so no spread is known."


def _bounds(rows: Sequence[Row]) -> str:
    ceilings = sorted({round(row.ceiling, 2) for row in rows if row.ceiling is not None})
    most = " or ".join(show(ceiling) for ceiling in ceilings)
    said = [f"MI ≥ cannot exceed log N = {most} nats."] if ceilings else []
    if any(row.crossed for row in rows):
        said.append("Both bounds of MI are estimates; where MI ≥ exceeds MI ≤, that is sampling noise.")
    return " ".join(said)


def _critics(rows: Sequence[Row], spell: bool) -> str:
    """What Critic ≤ means, with its values where the column has no room."""
    groups: dict[str, list[str]] = {}
    for row in rows:
        if row.critic_ceiling is not None:
            groups.setdefault(show(row.critic_ceiling), []).append(row.arm)
    values = "; ".join(f"{value} nats for {listed(arms)}" for value, arms in groups.items())
    if not groups:
        return ""
    return f"Critic ≤ is log K, the most that a critic's own bound can show{f': {values}' if spell else ''}."


def _reference(rows: Sequence[Row], left_out: Sequence[str]) -> str:
    found = {key: value for key, value in references(rows).items() if key not in left_out}
    names = listed([column.label.lower() for column in COLUMNS if column.key in found])
    values = " / ".join(show(found[column.key]) for column in COLUMNS if column.key in found)
    return f"Real training examples score {values} in {names}." if found else ""
