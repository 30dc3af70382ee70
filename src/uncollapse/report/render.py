"""The table as text: terminal, CSV, LaTeX, JSON and Markdown; the same rows always give the same bytes."""

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from uncollapse.report.table import COLUMNS, Cell, Column, Row, show

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["caption", "to_csv", "to_json", "to_latex", "to_markdown", "to_rich"]

ARROWS = {"lower": " ↓", "higher": " ↑", "one": " →1", None: ""}
HEADS = ("Method", *(column.label + ARROWS[column.better] for column in COLUMNS))
LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "−": "$-$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\to$",
} | {sign: f"\\{sign}" for sign in "&%$#_"}


def caption(rows: Sequence[Row]) -> str:
    """What a reader must know to read the table, in one paragraph."""
    seeds = max((len(row.expected) for row in rows), default=0)
    parts = ["Mean (standard deviation over seeds)." if seeds > 1 else "One seed, so no spread is known."]
    ceilings = sorted({round(row.ceiling, 2) for row in rows if row.ceiling is not None})
    if ceilings:
        parts.append("MI ≥ cannot exceed log N = " + " or ".join(show(c) for c in ceilings) + " nats.")
    if any(row.critic_ceiling is not None for row in rows):
        parts.append("Critic ≤ is log K, the most that a critic's own bound can add.")
    base = next((row.arm for row in rows if row.baseline), None)
    if len(rows) > 1 and seeds > 1:
        parts.append(f"* the paired 95 % interval of the difference to {base} excludes zero.")
    return " ".join(parts)


def _star(cell: Cell) -> str:
    return "*" if cell.difference and cell.difference.marked else ""


def _verdict(row: Row) -> str:
    return "–" if row.verdict is None else row.verdict + (f" ({row.agreement})" if row.agreement else "")


def _name(row: Row) -> str:
    return row.arm if row.complete else f"{row.arm} ({row.progress})"


NARROW = ("precision", "recall", "density", "coverage", "probe", "nll")  #: left out first where there is no room


def fitting(width: int) -> list[Column]:
    """The columns that fit a terminal beside method and verdict; the page has them all."""
    room = max((width - 44) // 9, 3)
    spare = [key for key in NARROW if key in {column.key for column in COLUMNS}]
    gone = set(spare[: max(len(COLUMNS) - room, 0)])
    return [column for column in COLUMNS if column.key not in gone]


def to_rich(rows: Sequence[Row], title: str | None = None, width: int = 120) -> "Table":
    """A table for a terminal of `width` columns: means above, standard deviations below them."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, caption=caption(rows), box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    table.caption_justify = "left"
    table.add_column("Method", min_width=13, max_width=24, overflow="fold")
    columns = fitting(width)
    for column in columns:
        table.add_column(f"{column.label}\n{ARROWS[column.better].strip()}", justify="right", no_wrap=True)
    table.add_column("Critic ≤\nlog K", justify="right", no_wrap=True)
    table.add_column("Verdict", min_width=10, max_width=18)
    for row in rows:
        cells = [_rich_cell(row.cells[column.key], column) for column in columns]
        name = Text.assemble(row.arm, *([] if row.complete else [(f"\n{row.progress}", "yellow")]))
        verdict = Text.assemble(
            (row.verdict or "–", _colour(row)), *([(f"\n{row.agreement}", "dim")] if row.agreement else [])
        )
        table.add_row(name, *cells, Text(show(row.critic_ceiling)), verdict)
    return table


def _rich_cell(cell: Cell, column: Column) -> Any:
    from rich.text import Text

    text = Text(show(cell.mean, column.digits) + _star(cell), style="bold" if cell.best else "")
    if cell.std is not None:
        text.append(f"\n({show(cell.std, column.digits)})", style="not bold dim")
    return text


def _colour(row: Row) -> str:
    return {"healthy": "green", "collapsed": "red", "off-prior collapse": "red"}.get(row.verdict or "", "yellow")


def to_csv(rows: Sequence[Row]) -> str:
    """One line a method at full precision: mean, std and n of each metric, and the paired difference."""
    keys = ("mean", "std", "n", "difference", "difference_se", "difference_low", "difference_high", "marked")
    heads = ["method", "seeds_done", "seeds_expected"]
    heads += [f"{column.key}_{key}" for column in COLUMNS for key in keys]
    heads += ["log_n", "critic_ceiling", "verdict", "verdict_seeds"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(heads)
    for row in rows:
        line: list[Any] = [row.arm, len(row.seeds), len(row.expected)]
        for column in COLUMNS:
            cell, gap = row.cells[column.key], row.cells[column.key].difference
            line += [cell.mean, cell.std, cell.n]
            line += [gap.mean, gap.se, gap.low, gap.high, int(gap.marked)] if gap else [None] * 5
        writer.writerow([*line, row.ceiling, row.critic_ceiling, row.verdict, row.votes])
    return out.getvalue()


def to_json(rows: Sequence[Row]) -> str:
    """Every number of the table, the value of each seed included, as strict JSON."""
    table = [
        {
            "method": row.arm,
            "baseline": row.baseline,
            "seeds": list(row.seeds),
            "seeds_expected": list(row.expected),
            "metrics": {column.key: _json_cell(row.cells[column.key], column) for column in COLUMNS},
            "log_n": row.ceiling,
            "saturated": row.saturated,
            "critic_ceiling": row.critic_ceiling,
            "verdict": row.verdict,
            "verdicts": {str(seed): word for seed, word in row.verdicts.items()},
        }
        for row in rows
    ]
    return json.dumps(table, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _json_cell(cell: Cell, column: Column) -> dict[str, Any]:
    return {
        "mean": cell.mean,
        "std": cell.std,
        "n": cell.n,
        "unit": column.unit,
        "best": cell.best,
        "values": {str(seed): value for seed, value in cell.values.items()},
        "difference": cell.difference._asdict() if cell.difference else None,
    }


def _body(rows: Sequence[Row], escape: Callable[[str], str], bold: Callable[[str], str]) -> list[list[str]]:
    def cell(cell: Cell, column: Column) -> str:
        mean = escape(show(cell.mean, column.digits) + _star(cell))
        spread = "" if cell.std is None else f" ({escape(show(cell.std, column.digits))})"
        return (bold(mean) if cell.best else mean) + spread

    return [
        [
            escape(_name(row)),
            *(cell(row.cells[column.key], column) for column in COLUMNS),
            escape(show(row.critic_ceiling)),
            escape(_verdict(row)),
        ]
        for row in rows
    ]


def to_latex(rows: Sequence[Row]) -> str:
    r"""A `tabular` for the booktabs package; names are escaped, the best of a column is bold."""
    body = _body(rows, _latex, lambda text: rf"\textbf{{{text}}}")
    heads = " & ".join(_latex(head) for head in (*HEADS, "Critic ≤", "Verdict"))
    lines = [
        r"% \usepackage{booktabs}",
        "% " + re.sub(r"\s+", " ", _latex(caption(rows))),
        r"\begin{tabular}{l" + "r" * (len(COLUMNS) + 1) + "l}",
        r"\toprule",
        rf"{heads} \\",
        r"\midrule",
        *(" & ".join(cells) + r" \\" for cells in body),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _latex(text: str) -> str:
    return "".join(LATEX.get(sign, sign) for sign in " ".join(text.split()))


def to_markdown(rows: Sequence[Row]) -> str:
    """A pipe table; what Markdown or HTML would read as a command is escaped."""
    body = _body(rows, _markdown, lambda text: f"**{text}**")
    lines = [" | ".join((*HEADS, "Critic ≤", "Verdict")), " | ".join(["---", *["---:"] * (len(COLUMNS) + 1), "---"])]
    lines += [" | ".join(cells) for cells in body]
    return "\n".join(f"| {line} |" for line in lines) + "\n\n" + _markdown(caption(rows)) + "\n"


def _markdown(text: str) -> str:
    escaped = re.sub(r"([\\`*_{}\[\]|#~$])", r"\\\1", " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
