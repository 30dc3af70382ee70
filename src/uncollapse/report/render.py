"""The table as text: CSV, LaTeX, JSON and Markdown; the same rows always give the same bytes."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import Any

from uncollapse.report.caption import arrow, caption, marks
from uncollapse.report.table import COLUMNS, Cell, Column, Row, show, unranked, visible

__all__ = ["to_csv", "to_json", "to_latex", "to_markdown"]

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
    "†": r"$^\dagger$",
} | {sign: f"\\{sign}" for sign in "&%$#_"}


def _heads(rows: Sequence[Row]) -> list[str]:
    return [
        "Method",
        *(f"{column.label} {arrow(column, rows)}".strip() for column in visible(rows)),
        "Critic ≤",
        "Verdict",
    ]


def _verdict(row: Row) -> str:
    return "–" if row.verdict is None else row.verdict + (f" ({row.agreement})" if row.agreement else "")


def _name(row: Row) -> str:
    return row.arm if row.complete else f"{row.arm} ({row.progress})"


def to_csv(rows: Sequence[Row]) -> str:
    """One line a method at full precision: mean, std and n of each metric, and the paired difference."""
    keys = ("mean", "std", "n", "difference", "difference_se", "difference_low", "difference_high", "marked")
    heads = ["method", "seeds_done", "seeds_expected"]
    heads += [f"{column.key}_{key}" for column in COLUMNS for key in keys]
    heads += ["nll_heavy_tailed", "reference_density", "reference_coverage", "data_fingerprint", "likelihood"]
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
        line += [int(row.cells["nll"].loose), *_references(row).values()]
        line += [_unique(base.fingerprint for base in row.bases), _unique(base.likelihood for base in row.bases)]
        writer.writerow([*line, row.ceiling, row.critic_ceiling, row.verdict, row.votes])
    return out.getvalue()


def _unique(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(filter(None, texts)))


def _references(row: Row) -> dict[str, float | None]:
    """What real training examples score beside this method, means over its runs."""
    found = {key: list(row.reference.get(key, {}).values()) for key in ("density", "coverage")}
    return {key: fmean(values) if values else None for key, values in found.items()}


def to_json(rows: Sequence[Row]) -> str:
    """Every number of the table, the value of each seed included, as strict JSON."""
    table = [
        {
            "method": row.arm,
            "baseline": row.baseline,
            "seeds": list(row.seeds),
            "seeds_expected": list(row.expected),
            "metrics": {column.key: _json_cell(row.cells[column.key], column) for column in visible(rows)},
            "reference": _references(row),
            "data": [
                {"name": b.name, "fingerprint": b.fingerprint, "likelihood": b.likelihood or None} for b in row.bases
            ],
            "remark": unranked(rows) or None,
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
        **({"heavy_tailed": cell.loose} if column.key == "nll" else {}),
        "values": {str(seed): value for seed, value in cell.values.items()},
        "difference": cell.difference._asdict() if cell.difference else None,
    }


def _body(rows: Sequence[Row], escape: Callable[[str], str], bold: Callable[[str], str]) -> list[list[str]]:
    def cell(cell: Cell, column: Column) -> str:
        mean = escape(show(cell.mean, column.digits) + marks(cell))
        spread = "" if cell.std is None else f" ({escape(show(cell.std, column.digits))})"
        return (bold(mean) if cell.best else mean) + spread

    columns = visible(rows)
    return [
        [
            escape(_name(row)),
            *(cell(row.cells[column.key], column) for column in columns),
            escape(show(row.critic_ceiling)),
            escape(_verdict(row)),
        ]
        for row in rows
    ]


def to_latex(rows: Sequence[Row]) -> str:
    r"""A `tabular` for the booktabs package; names are escaped, the best of a column is bold."""
    body = _body(rows, _latex, lambda text: rf"\textbf{{{text}}}")
    heads = " & ".join(_latex(head) for head in _heads(rows))
    lines = [
        r"% \usepackage{booktabs}",
        "% " + re.sub(r"\s+", " ", _latex(caption(rows))),
        r"\begin{tabular}{l" + "r" * (len(visible(rows)) + 1) + "l}",
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
    body = _body(rows, escape_markdown, lambda text: f"**{text}**")
    lines = [" | ".join(_heads(rows)), " | ".join(["---", *["---:"] * (len(visible(rows)) + 1), "---"])]
    lines += [" | ".join(cells) for cells in body]
    return "\n".join(f"| {line} |" for line in lines) + "\n\n" + escape_markdown(caption(rows)) + "\n"


def escape_markdown(text: str) -> str:
    """The text with every sign escaped that Markdown or HTML would read as a command."""
    escaped = re.sub(r"([\\`*_{}\[\]|#~$])", r"\\\1", " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
