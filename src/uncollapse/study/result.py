"""The result file of a run, read without loading torch."""

from pathlib import Path
from typing import Any

from uncollapse.errors import WorkFailed
from uncollapse.store import read_json

__all__ = ["FORMAT", "finished"]

FORMAT = 1  #: of result.json


def finished(folder: Path) -> dict[str, Any] | None:
    """The result in a folder, or None when there is none yet.

    Raises:
        WorkFailed: when the file is damaged or of another version.
    """
    path = folder / "result.json"
    if not path.exists():
        return None
    result = read_json(path)
    if not isinstance(result, dict) or result.get("format") != FORMAT:
        raise WorkFailed(f"{path} is not a result of this version; move it away and run again")
    return result
