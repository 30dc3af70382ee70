"""What a run folder holds that it should not: results that are damaged, and what a finished run needs no more."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from uncollapse.drafts import sweep
from uncollapse.errors import Damaged
from uncollapse.store import GENERATIONS, set_aside
from uncollapse.study.result import finished

__all__ = ["taken", "tidy"]


def taken(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """The result in a folder, if it is sound, and a remark where a damaged one was moved aside.

    Raises:
        Outdated: when a newer version wrote it.
    """
    try:
        return finished(folder), []
    except Damaged as error:
        aside = set_aside(folder / "result.json")
        return None, [f"the run was done again: an earlier result was damaged and is kept as {aside.name} ({error})"]


def tidy(folder: Path) -> None:
    """Remove what a finished run needs no more: checkpoints, the mark of a failure, drafts of killed attempts."""
    sweep(folder)
    for pattern in (*GENERATIONS, f"{GENERATIONS[0]}.damaged*", f"{GENERATIONS[1]}.damaged*", "failed.json"):
        for path in folder.glob(pattern):
            with suppress(OSError):  # a folder that is for reading only
                path.unlink()
