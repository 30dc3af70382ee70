"""The protocol on a page: as a section of a study's page, or as a page of its own where nothing was trained."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uncollapse.report.document import asset, environment, write_page
from uncollapse.report.protocol.cells import VERDICTS, facts, ours, printed, published, remarks
from uncollapse.report.protocol.figures import figure, legend

__all__ = ["build", "section", "write"]


def section(view: Mapping[str, Any]) -> dict[str, Any]:
    """What the template shows of a protocol; it computes nothing itself."""
    return {
        "view": view, "facts": facts(view), "remarks": remarks(view), "tones": VERDICTS,
        "svgs": figure(view["panels"], view["figure"]), "legend": legend(view["panels"]),
        "published": published, "ours": ours, "printed": lambda column: printed(view, column),
    }  # fmt: skip


def build(view: Mapping[str, Any]) -> str:
    """The page of an exact computation as a string."""
    template = environment().get_template("protocol_page.html.j2")
    return template.render(protocol=section(view), css=asset("page.css"))


def write(view: Mapping[str, Any], path: str | Path) -> Path:
    """Write the page of an exact computation.

    Raises:
        WorkFailed: when the disk is full or may not be written.
    """
    return write_page(build(view), path)
