"""The result file of a run, read without loading torch."""

from pathlib import Path
from typing import Any

from uncollapse.errors import Damaged
from uncollapse.store import check_format, read_sealed

__all__ = ["FORMAT", "finished"]

FORMAT = 1  #: of result.json


def finished(folder: Path) -> dict[str, Any] | None:
    """The result in a folder, or None when there is none yet.

    Raises:
        Damaged: when the file is cut short or was changed.
        Outdated: when a newer version wrote it.
    """
    path = folder / "result.json"
    if not path.exists():
        return None
    result = read_sealed(path)
    if not isinstance(result, dict):
        raise Damaged(f"{path} is no result, but a {type(result).__name__}")
    check_format(path, result.get("format"), FORMAT, (result.get("versions") or {}).get("uncollapse"))
    return result
