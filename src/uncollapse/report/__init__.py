"""Tables and one page from result files alone; matplotlib and Jinja2 load only when a page is drawn.

`load_results` reads a study folder, `rows` computes the table, `to_rich`, `to_csv`, `to_latex`, `to_json` and
`to_markdown` write it, and `uncollapse.report.page.write` makes the self-contained HTML page.
"""

from uncollapse.report.load import load_results
from uncollapse.report.render import to_csv, to_json, to_latex, to_markdown, to_rich
from uncollapse.report.table import COLUMNS, Cell, Column, Row, rows

__all__ = [
    "COLUMNS",
    "Cell",
    "Column",
    "Row",
    "load_results",
    "rows",
    "to_csv",
    "to_json",
    "to_latex",
    "to_markdown",
    "to_rich",
]
