"""Where data files are looked for. Nothing is downloaded."""

import os
from collections.abc import Sequence
from pathlib import Path

from uncollapse.caches import user_cache

__all__ = ["find_folder", "roots"]


def roots(data_dir: str | Path | None = None) -> list[Path]:
    """Folders that are searched, in order: the one given, $UNCOLLAPSE_DATA, the user's cache."""
    environment = os.environ.get("UNCOLLAPSE_DATA")
    return [Path(root).expanduser() for root in (data_dir, environment, cache_dir()) if root]


def cache_dir() -> Path:
    """The user's cache folder for data, by the custom of the platform."""
    return user_cache() / "data"


def find_folder(names: Sequence[str], files: Sequence[Sequence[str]], data_dir: str | Path | None) -> Path | None:
    """The first folder that holds one of each group of files, or None.

    Arguments:
        names: what the folder may be called; a root may itself be that folder.
        files: groups of alternative file names.
        data_dir: searched first.
    """
    for root in roots(data_dir):
        own = [root, root / "raw"] if root.name in names else []
        below = [folder for name in names for folder in (root / name, root / name / "raw")]
        for folder in own + below:
            if all(find_file(folder, group) for group in files):
                return folder
    return None


def find_file(folder: Path, names: Sequence[str]) -> Path | None:
    """The first of some alternative files that is there."""
    return next((folder / name for name in names if (folder / name).is_file()), None)
