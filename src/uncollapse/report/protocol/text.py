"""A protocol's table as Markdown, as JSON and for a terminal."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from uncollapse.report.protocol.cells import CAP, facts, heads, line, remarks
from uncollapse.report.render import escape_markdown

if TYPE_CHECKING:
    from rich.console import Group

__all__ = ["to_json", "to_markdown", "to_rich"]

COLOURS = {"holds": "green", "does not hold": "red", "cannot be told": "yellow"}
SIGN = f"Means (standard deviations) over the seeds. {CAP}: the estimator is at its cap, the truth may be higher."


def to_json(view: Mapping[str, Any]) -> str:
    """Everything, for programs."""
    return json.dumps(view, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_markdown(view: Mapping[str, Any]) -> str:
    """Question, facts, table, claims and remarks in Markdown."""
    out = [f"# {escape_markdown(view['title'])}", "", escape_markdown(view["question"]), ""]
    out += [
        f"- {label}: {f'`{value}`' if label == 'Command' else escape_markdown(value)}" for label, value in facts(view)
    ]
    out += ["", *table(view), "", SIGN, "", *claims(view)]
    for title, lines in remarks(view):
        out += ["", f"## {title}", "", *(f"- {escape_markdown(one)}" for one in lines)]
    return "\n".join(out) + "\n"


def table(view: Mapping[str, Any]) -> list[str]:
    """The three-column table as a pipe table."""
    tops = ["Method", "seeds", *heads(view)]
    lines = [tops, ["---", *["---:"] * (len(tops) - 1)]]
    lines += [[escape_markdown(row["arm"]), str(row["seeds"] or "–"), *line(view, row)] for row in view["rows"]]
    return [f"| {' | '.join(one)} |" for one in lines]


def claims(view: Mapping[str, Any]) -> list[str]:
    """Each claim with its verdict and the reasons."""
    if not view["claims"]:
        return []
    out = ["## Claims", ""]
    for one in view["claims"]:
        out.append(f"- **{one['word']}**: {escape_markdown(one['say'])}. {escape_markdown(one['because'])}".rstrip())
        out += [f"    - {escape_markdown(reason)}" for reason in one["reasons"]]
    return out


def to_rich(view: Mapping[str, Any]) -> "Group":
    """Table, claims and their reasons for a terminal."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[Any] = []
    for column in view["columns"]:
        part = {**view, "columns": [column]}
        if not heads(part):
            continue
        made = Table(title=f"{column['label']}", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        made.add_column("Method", overflow="fold")
        made.add_column("seeds", justify="right")
        for head in heads(part):
            made.add_column(head.removeprefix(f"{column['label']}: "), justify="right")
        for row in view["rows"]:
            made.add_row(row["arm"], str(row["seeds"] or "–"), *line(part, row))
        parts.append(made)
    parts.append(Text(SIGN, style="dim"))
    for one in view["claims"]:
        parts.append(Text.assemble("\n", (one["word"], f"bold {COLOURS[one['word']]}"), f": {one['say']}"))
        parts += [Text(f"  {reason}", style="dim") for reason in one["reasons"]]
    return Group(*parts)
