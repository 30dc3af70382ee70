"""Cells of a protocol's table as short texts."""

from collections.abc import Mapping, Sequence
from typing import Any

from uncollapse.report.document import duration
from uncollapse.report.table import show

__all__ = ["CAP", "VERDICTS", "facts", "heads", "line", "ours", "printed", "published", "remarks"]

CAP = "⌈"  #: beside a value whose estimator is at its cap
VERDICTS = {"holds": "good", "does not hold": "bad", "cannot be told": "odd"}


def published(cell: Mapping[str, Any] | None, digits: int) -> str:
    """A published value with its spread.

    Example:
        >>> published({"text": "", "mean": 5.38, "std": 0.15}, 2), published(None, 2)
        ('5.38 (0.15)', '–')
    """
    if cell is None:
        return "–"
    if cell["text"]:
        return str(cell["text"])
    spread = "" if cell["std"] is None else f" ({show(cell['std'], digits)})"
    return show(cell["mean"], digits) + spread


def ours(cell: Mapping[str, Any] | None, digits: int) -> str:
    """A value of ours with its standard deviation over the seeds, and a sign where the estimator is at its cap."""
    if cell is None:
        return "–"
    spread = "" if cell["std"] is None else f" ({show(cell['std'], digits)})"
    return show(cell["mean"], digits) + (CAP if cell["capped"] else "") + spread


def printed(view: Mapping[str, Any], column: Mapping[str, Any]) -> bool:
    """Whether the paper, as far as it could be seen, has a number in this column."""
    return any(column["key"] in row["published"] for row in view["rows"])


def heads(view: Mapping[str, Any]) -> list[str]:
    """Heads of the columns: each published column, its formula on our run, and the right metrics."""
    out = []
    for column in view["columns"]:
        out += [f"{column['label']}: published"] if printed(view, column) else []
        out += [f"{column['label']}: their formula"] if column["legacy"] else []
        out += [one["label"] for one in column["right"]]
    return out


def line(view: Mapping[str, Any], row: Mapping[str, Any]) -> list[str]:
    """The cells of one method, in the order of `heads`."""
    out = []
    for column in view["columns"]:
        key, digits = column["key"], column["digits"]
        out += [published(row["published"].get(key), digits)] if printed(view, column) else []
        out += [ours(row["legacy"].get(key), digits)] if column["legacy"] else []
        out += [ours(one, digits) for one in row["right"][key]]
    return out


def facts(view: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What to know before reading, as label and value."""
    data = ", ".join(dict.fromkeys(one["name"] for one in view["data"]))
    hashes = ", ".join(dict.fromkeys(one["fingerprint"][:16] for one in view["data"] if one["fingerprint"]))
    versions = ", ".join(f"{name} {version}" for name, version in view["versions"].items())
    found = [
        ("Paper", f"{view['paper']['citation']}, {view['paper']['where']}"),
        ("Their data", view["paper"]["data"]), ("Our data", data), ("Data hash", hashes),
        ("Scale", view["scale"] + (f": {view['note']}" if view["note"] else "")), ("Command", view["command"]),
        ("Computing time", duration(view["seconds"]) if view["seconds"] else ""),
        ("Device", ", ".join(view["devices"])), ("Versions", versions),
    ]  # fmt: skip
    return [(label, value) for label, value in found if value]


def remarks(view: Mapping[str, Any]) -> list[tuple[str, Sequence[str]]]:
    """Lists below the table: how columns are defined, what differs from the paper, what could not be seen."""
    defined = []
    for column in view["columns"]:
        note = f" {column['note']}" if column["note"] else ""
        unit = f" ({column['unit']})" if column["unit"] else ""
        defined.append(f"{column['label']}{unit}: {sentence(column['definition'])}{note}")
    listed = [
        ("What the published columns are", defined),
        ("What differs from the paper", view["differs"]),
        ("What of the paper could not be seen", view["unseen"]),
    ]
    return [(title, lines) for title, lines in listed if lines]


def sentence(text: str) -> str:
    """The text with a full stop."""
    text = " ".join(text.split())
    return text if text.endswith((".", "?", "!")) else f"{text}."
