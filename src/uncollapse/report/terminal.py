"""The table for a terminal: columns that find no room are left out, and the caption names them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from uncollapse.errors import spelled
from uncollapse.report.caption import arrow, caption, marks
from uncollapse.report.table import Cell, Column, Row, show, visible

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Layout", "fitting", "to_rich"]

NARROW: tuple[str, ...] = (
    "critic",
    "knn",
    "nll_token",
    "density",
    "coverage",
    "probe",
    "active_units",
    "kl",
    "mi_upper",
)  #: left out first to last


class Layout(NamedTuple):
    """Keys of the columns left out, and the widths of the two columns that can wrap."""

    left_out: tuple[str, ...]
    name: int
    verdict: int


def fitting(rows: Sequence[Row], width: int) -> Layout:
    """What fits a terminal of `width` columns; verdicts wrap first, then names, then columns go. The page has all."""
    from rich.cells import cell_len
    from rich.console import Console
    from rich.measure import Measurement

    console = Console(width=10_000)
    names = [text for row in rows for text in (row.arm, "" if row.complete else row.progress)]
    name = min(max([6, *map(cell_len, names)]), 24)
    verdicts = [row.verdict or "–" for row in rows]
    verdict = max([7, *map(cell_len, verdicts)])
    word = max([7, *(len(part) for text in verdicts for part in text.split())])
    excess, slim, left_out = 0, 0, NARROW
    for left_out in (NARROW[:count] for count in range(len(NARROW) + 1)):
        full = _table(rows, Layout(left_out, name, verdict))
        excess = max(Measurement.get(console, console.options, full).maximum - width, 0)
        slim = min(excess, verdict - word)
        if excess - slim <= max(name - 13, 0):
            break
    return Layout(left_out, max(name - (excess - slim), 6), verdict - slim)


def to_rich(rows: Sequence[Row], title: str | None = None, width: int = 120) -> "Table":
    """A table for a terminal of `width` columns: means above, standard deviations below them.

    Where it does not fit, columns are left out in the order of `NARROW`, and the caption names them.
    """
    layout = fitting(rows, width)
    table = _table(rows, layout)
    table.title, table.caption, table.caption_justify = title, caption(rows, layout.left_out), "left"
    return table


def _table(rows: Sequence[Row], layout: Layout) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    table.add_column("Method", width=layout.name, overflow="fold")
    columns = [column for column in visible(rows) if column.key not in layout.left_out]
    for column in columns:
        table.add_column(f"{column.label}\n{arrow(column, rows)}", justify="right", no_wrap=True)
    if "critic" not in layout.left_out:
        table.add_column("Critic ≤\nlog K", justify="right", no_wrap=True)
    table.add_column("Verdict", width=layout.verdict, overflow="fold")
    for row in rows:
        table.add_row(*_rich_row(row, columns, "critic" not in layout.left_out))
    return table


def _rich_row(row: Row, columns: Sequence[Column], critic: bool) -> list[Any]:
    from rich.text import Text

    name = Text.assemble(spelled(row.arm), *([] if row.complete else [(f"\n{row.progress}", "yellow")]))
    cells = [_rich_cell(row.cells[column.key], column) for column in columns]
    limit = [Text(show(row.critic_ceiling))] if critic else []
    agreement = [(f"\n{row.agreement}", "dim")] if row.agreement else []
    return [name, *cells, *limit, Text.assemble((row.verdict or "–", _colour(row)), *agreement)]


def _rich_cell(cell: Cell, column: Column) -> Any:
    from rich.text import Text

    text = Text(show(cell.mean, column.digits) + marks(cell), style="bold" if cell.best else "")
    if cell.std is not None:
        text.append(f"\n({show(cell.std, column.digits)})", style="not bold dim")
    return text


COLOURS = {"healthy": "green", "undetermined": "", "collapsed": "red", "off-prior collapse": "red"}


def _colour(row: Row) -> str:
    return COLOURS.get(row.verdict or "", "yellow")
