"""A diagnosis for readers: page, model card and terminal, from the plain values of `Diagnosis.to_dict()` alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uncollapse.report.diagnosis.card import to_card
from uncollapse.report.diagnosis.terminal import to_rich, to_text

__all__ = ["build", "to_card", "to_rich", "to_text", "write"]


def build(result: Mapping[str, Any]) -> str:
    """The page as a string, as `uncollapse.report.diagnosis.page.build` says; templates are loaded only now."""
    from uncollapse.report.diagnosis import page

    return page.build(result)


def write(result: Mapping[str, Any], path: str | Path) -> Path:
    """Write the page of a diagnosis, as `uncollapse.report.diagnosis.page.write` says.

    Raises:
        WorkFailed: when the disk is full or may not be written.
    """
    from uncollapse.report.diagnosis import page

    return page.write(result, path)
