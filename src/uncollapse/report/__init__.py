"""Tables and one page from result files alone; matplotlib and Jinja2 load only when a page is drawn.

`load_results` reads a study folder, `rows` computes the table, `to_rich`, `to_csv`, `to_latex`, `to_json` and
`to_markdown` turn it into text, and `write` makes the self-contained HTML page.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from uncollapse.report.load import load_results
from uncollapse.report.render import to_csv, to_json, to_latex, to_markdown
from uncollapse.report.table import COLUMNS, Cell, Column, Row, rows
from uncollapse.report.terminal import to_rich

__all__ = [
    "COLUMNS",
    "Cell",
    "Column",
    "Row",
    "export",
    "load_results",
    "rows",
    "to_csv",
    "to_json",
    "to_latex",
    "to_markdown",
    "to_rich",
    "write",
]


def export(folder: str | Path, to: str | Path) -> list[Path]:
    """Write a study's results, tables, frontier and page into a folder to be kept, see `uncollapse.report.exporting`.

    Raises:
        BadInput: when there is no result, or the folder is the study's own.
    """
    from uncollapse.report import exporting

    return exporting.export(folder, to)


def write(header: dict[str, Any], results: Sequence[dict[str, Any]], path: str | Path) -> Path:
    """Write the page of a study, as `uncollapse.report.page.write` says; plots are loaded only now.

    Raises:
        BadInput: when two results claim the same arm and seed.
        WorkFailed: when the disk is full or may not be written.
    """
    from uncollapse.report import page

    return page.write(header, results, path)
