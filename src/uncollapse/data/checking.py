"""What data files are, whether they are the published ones, and what is damaged in them."""

import gzip
import hashlib
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uncollapse.data.catalogue import SOURCES, about, find, load
from uncollapse.data.dataset import DataSet
from uncollapse.data.download import sha256_of
from uncollapse.data.idx import read_idx
from uncollapse.data.published import HASHES
from uncollapse.data.source import Source
from uncollapse.errors import BadInput, ShapeError, said

__all__ = ["CheckedFile", "Report", "check"]

CHUNK = 2**20
IDX = re.compile(r"[-.]idx\d-u?byte(\.gz)?$")
PUBLISHED, CONTENT = "as published", "published content, packed anew"
OTHER, UNKNOWN = "differs from the published file", "no published hash is known"


@dataclass(frozen=True)
class CheckedFile:
    """One file.

    Attributes:
        path: where it is.
        size: bytes.
        sha256: hex.
        origin: "as published", "published content, packed anew", "differs from the published file" or "no published
            hash is known".
    """

    path: Path
    size: int
    sha256: str
    origin: str


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
        name: of the data set, as tables show it.
        files: what was looked at.
        found: lines for people: what it is, how much of it, its shape and range.
        problem: the first damaged thing, in a sentence; empty if all is well.
    """

    name: str
    files: tuple[CheckedFile, ...]
    found: dict[str, str]
    problem: str = ""

    @property
    def verdict(self) -> str:
        """One line: damaged, readable or sound."""
        other = sum(file.origin == OTHER for file in self.files)
        readable = f"readable, but {other} of {len(self.files)} files differ from the published ones"
        return f"damaged: {self.problem}" if self.problem else readable if other else "sound"


def check(name: str | Path, data_dir: str | Path | None = None) -> Report:
    """Open the files of a data set, or one file, and say what they are.

    Arguments:
        name: of a data set, or a path.
        data_dir: searched first.

    Raises:
        BadInput: when there is no such data set or file, or its files are not at hand.

    Example:
        >>> check("digits").found["examples"]
        '1,257 to train, 180 to validate, 360 to test'
    """
    if str(name) in SOURCES:
        source = about(str(name))
        if not source.present(data_dir):
            raise BadInput(source.missing(data_dir))
        files = tuple(checked(path, source) for path in files_of(source, data_dir))
        return loaded(source.name, files, data_dir)
    path = Path(name).expanduser()
    if not path.exists():
        about(str(name))  # names the nearest one
    files = (checked(path),) if path.is_file() else ()
    if files and IDX.search(path.name):
        return idx_report(path, files)
    return loaded(str(path), files, data_dir)


def loaded(name: str, files: tuple[CheckedFile, ...], data_dir: str | Path | None) -> Report:
    """The report on what a reader makes of it."""
    find(name, {})  # refuses what no reader knows
    try:
        data = load(name, data_dir=data_dir)
    except (BadInput, ShapeError) as error:
        return Report(name, files, {}, str(error))
    return Report(data.name, files, described(data))


def described(data: DataSet) -> dict[str, str]:
    """What a data set holds, in lines for people."""
    low = min(part.range[0] for part in data.parts.values())
    high = max(part.range[1] for part in data.parts.values())
    train, valid, test = (f"{len(part):,}" for part in data.parts.values())
    found = {
        "examples": f"{train} to train, {valid} to validate, {test} to test",
        "shape": " x ".join(map(str, data.shape)),
        "stored as": str(data.train.x.dtype).removeprefix("torch."),
        "likelihood": data.likelihood,
        "values": f"{low:g} to {high:g}",
    }
    if data.train.tokens:
        del found["values"]
        lengths = [part.lengths - 1 for part in data.parts.values()]
        found["words"] = ", ".join(f"{int(length.sum()):,}" for length in lengths)
        found["longest"] = f"{max(int(length.max()) for length in lengths)} words"
    if data.vocabulary:
        found["vocabulary"] = f"{len(data.vocabulary):,} entries"
    if data.classes and data.train.y is not None:
        found["classes"] = f"{len(data.classes)}: {', '.join(data.classes[:10])}{', ...' * (len(data.classes) > 10)}"
    return {**found, **({"note": data.note} if data.note else {})}


def files_of(source: Source, data_dir: str | Path | None) -> list[Path]:
    """The files that a data set is read from."""
    folder = source.find(data_dir)
    groups = source.files if folder is not None else ()
    return [folder / name for group in groups for name in group if folder and (folder / name).is_file()]


def checked(path: Path, source: Source | None = None) -> CheckedFile:
    """Size and hash of a file, compared with what is published."""
    try:
        size, digest = path.stat().st_size, sha256_of(path)
    except OSError as error:
        raise BadInput(f"cannot read {path}: {said(error)}") from error
    remotes = [one for each in SOURCES.values() if source is None or alike(each, source) for one in each.remote]
    if digest in {*HASHES.values(), *(one.sha256 for one in remotes)}:
        return CheckedFile(path, size, digest, PUBLISHED)
    plain = next((one for one in remotes if f"{one.file}.gz" == path.name), None)
    if plain is not None and content_sha256(path, plain.size) == plain.sha256:
        return CheckedFile(path, size, digest, CONTENT)
    expected = source is not None and (plain is not None or path.name in {*HASHES, *(one.file for one in remotes)})
    return CheckedFile(path, size, digest, OTHER if expected else UNKNOWN)


def alike(one: Source, other: Source) -> bool:
    """Whether two data sets lie in the same folder."""
    return bool(set(one.folders) & set(other.folders))


def content_sha256(path: Path, most: int) -> str:
    """SHA-256 of what a gzip file holds; nothing if it is damaged or holds more than `most` bytes."""
    digest, total = hashlib.sha256(), 0
    try:
        with gzip.open(path) as file:
            while piece := file.read(CHUNK):
                digest.update(piece)
                total += len(piece)
                if total > most:
                    return ""
    except (EOFError, OSError, zlib.error):
        return ""
    return digest.hexdigest()


def idx_report(path: Path, files: tuple[CheckedFile, ...]) -> Report:
    """The report on one IDX file."""
    try:
        array = read_idx(path)
    except BadInput as error:
        return Report(path.name, files, {"kind": "IDX"}, str(error))
    found: dict[str, Any] = {"kind": "IDX", "shape": " x ".join(map(str, array.shape)), "stored as": str(array.dtype)}
    if array.size:
        found["values"] = f"{array.min():g} to {array.max():g}"
    return Report(path.name, files, found)
