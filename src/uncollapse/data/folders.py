"""What pictures a folder holds, and which part and class each belongs to."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from uncollapse.data.images import ENDINGS
from uncollapse.data.tensors import split_index
from uncollapse.errors import BadInput, said

__all__ = ["Album", "by_number", "by_partition", "pictures_in", "sorted_out"]

PARTS = {"train": ("train", "training"), "valid": ("valid", "val", "validation"), "test": ("test", "testing")}
LISTED = re.compile(r"\s*(\w[\w.-]*)(?:\s*,\s*|\s+)([012])\s*")  # no sign that leads to another folder


@dataclass(frozen=True)
class Album:
    """Paths of the pictures of every part, and their labels where they have some.

    Attributes:
        paths: by part.
        labels: by part; empty where there are none.
        classes: names of the labels.
    """

    paths: dict[str, list[Path]]
    labels: dict[str, np.ndarray]
    classes: tuple[str, ...] = ()

    @property
    def everything(self) -> list[Path]:
        """All paths, part after part."""
        return [path for paths in self.paths.values() for path in paths]


def pictures_in(folder: Path) -> list[Path]:
    """Pictures in a folder and below, by name; hidden files and links to other folders are passed by."""
    found = []
    try:
        for where, below, files in os.walk(folder, onerror=refuse):
            below[:] = [name for name in below if not name.startswith(".")]
            for name in files:
                if name.lower().endswith(ENDINGS) and not name.startswith("."):
                    found.append(Path(where) / name)  # noqa: PERF401  # a loop reads better than three nested ones
    except OSError as error:
        raise BadInput(f"cannot read {error.filename or folder}: {said(error)}") from error
    if len(found) < 2:
        raise BadInput(f"{folder} should hold pictures ({', '.join(ENDINGS)}), got {len(found)}")
    return sorted(found, key=lambda path: [natural(part) for part in path.relative_to(folder).parts])


def natural(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts 2 before 10."""
    pieces = re.split(r"(\d+)", name)
    return [(0, int(piece), "") if piece.isdecimal() and len(piece) < 20 else (1, 0, piece) for piece in pieces]


def refuse(error: OSError) -> None:
    """A folder that cannot be listed is not passed by."""
    raise error


def sorted_out(folder: Path, fractions: tuple[float, ...], split: int) -> Album:
    """Parts by folders named train, valid (val) and test where there are some, else by chance; classes by folders."""
    given = {
        part: next((folder / name for name in names if (folder / name).is_dir()), None) for part, names in PARTS.items()
    }
    if given["train"] is None:
        return divided(folder, pictures_in(folder), fractions, split)
    if given["valid"] is None and given["test"] is None:
        return divided(given["train"], pictures_in(given["train"]), fractions, split)
    paths = {part: pictures_in(where) for part, where in given.items() if where is not None}
    named = {part: class_names(given[part] or folder, paths[part]) for part in paths}
    if "valid" not in paths:  # as many for validation as the fractions say
        whole, first = paths["train"], fractions[0] / (fractions[0] + fractions[1])
        pieces = split_index(len(whole), (first, 1 - first), numbers(named["train"]), split)
        for part, index in zip(("train", "valid"), pieces, strict=True):
            paths[part] = [whole[int(place)] for place in index]
        names = named["train"]
        named["train"], named["valid"] = ([names[int(i)] for i in index] if names else [] for index in pieces)
    for part in ("test",):
        paths.setdefault(part, paths["valid"])
        named.setdefault(part, named["valid"])
    return labelled({part: paths[part] for part in PARTS}, named)


def divided(root: Path, paths: list[Path], fractions: tuple[float, ...], split: int) -> Album:
    """Three parts by chance, every class spread evenly."""
    names = class_names(root, paths)
    pieces = dict(zip(PARTS, split_index(len(paths), fractions, numbers(names), split), strict=True))
    chosen = {part: [paths[int(place)] for place in index] for part, index in pieces.items()}
    return labelled(chosen, {part: [names[int(i)] for i in index] if names else [] for part, index in pieces.items()})


def class_names(root: Path, paths: list[Path]) -> list[str]:
    """The first folder of every picture; nothing unless there are at least two such folders and no loose picture."""
    first = [path.relative_to(root).parts for path in paths]
    return [parts[0] for parts in first] if all(len(p) > 1 for p in first) and len({p[0] for p in first}) > 1 else []


def numbers(names: list[str]) -> torch.Tensor | None:
    """Names as numbers, for the split."""
    return torch.from_numpy(np.unique(names, return_inverse=True)[1]) if names else None


def labelled(paths: dict[str, list[Path]], named: dict[str, list[str]]) -> Album:
    """Labels from the names, if every part has some."""
    if not all(named.values()):
        return Album(paths, {})
    classes = tuple(sorted({name for names in named.values() for name in names}, key=natural))
    place = {name: number for number, name in enumerate(classes)}
    return Album(paths, {part: np.array([place[name] for name in named[part]]) for part in paths}, classes)


def by_partition(folder: Path, listing: Path) -> Album:
    """Parts by a list with a file name and 0 (train), 1 (valid) or 2 (test) a line, as CelebA has it."""
    parts = list(PARTS)
    paths: dict[str, list[Path]] = {part: [] for part in parts}
    for number, line in enumerate(lines_of(listing)):
        if number == 0 and line.startswith("image_id"):
            continue
        match = LISTED.fullmatch(line)
        if match is None:
            raise BadInput(
                f"line {number + 1} of {listing} should be a file name and 0, 1 or 2, got {line.strip()[:60]!r}"
            )
        paths[parts[int(match[2])]].append(folder / match[1])
    return Album(paths, {})


def lines_of(path: Path) -> list[str]:
    """The lines of a small text file that are not empty."""
    try:
        if path.stat().st_size > 2**26:
            raise BadInput(f"{path} is too large for a list of file names")
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} should be a text file: {said(error)}") from error
    except OSError as error:
        raise BadInput(f"cannot read {path}: {said(error)}") from error


def by_number(paths: Iterable[Path], ends: tuple[int, int]) -> Album:
    """Parts by the number in the file name: below the first end train, below the second valid, the rest test."""
    parts: dict[str, list[Path]] = {part: [] for part in PARTS}
    for path in paths:
        if not path.stem.isdecimal():
            raise BadInput(f"{path} should be named by a number")
        number = int(path.stem)
        parts["train" if number < ends[0] else "valid" if number < ends[1] else "test"].append(path)
    return Album(parts, {})
