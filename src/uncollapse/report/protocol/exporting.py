"""The table and claims of a protocol as files to be kept: protocol.json, protocol.md and its figure."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uncollapse.report.exporting import standalone
from uncollapse.report.protocol.figures import figure
from uncollapse.report.protocol.text import to_markdown
from uncollapse.store import write_json, write_text

__all__ = ["export_protocol"]


def export_protocol(folder: Path, view: Mapping[str, Any], to: Path) -> None:
    """Write a protocol's mark with its table inside, its table in Markdown, and its figure, a file a panel.

    Arguments:
        folder: of the runs, with its protocol.json.
        view: the table as plain values.
        to: the folder to write; `study table` and `study report` work on it.
    """
    mark = json.loads((folder / "protocol.json").read_text(encoding="utf-8"))
    write_json(to / "protocol.json", {**mark, "view": dict(view)})
    write_text(to / "protocol.md", to_markdown(view))
    for i, svg in enumerate(figure(view["panels"], view["figure"]), 1):
        write_text(to / f"protocol-{i}.svg", standalone(svg))
