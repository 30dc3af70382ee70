"""The reader of .h5ad files, in a process of its own: `python -m uncollapse.hdf5 PATH OUT SECONDS LAYER LABEL`.

The library of HDF5 is written in C, and some damaged files send it into an endless loop or end the process. What it
reads is therefore read beside the user's process, which takes over arrays and texts, or one sentence.
"""

import json
import math
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from uncollapse.errors import BadInput, UncollapseError, said
from uncollapse.limits import MAX_BYTES, advice, room

__all__ = ["Cells", "read_cells"]

ROWS = 1024
MOST_CHUNK = 2**30  # bytes that are unpacked at a time
SPARSE = {"csr_matrix": 0, "csc_matrix": 1}

Cells = tuple[np.ndarray, "list[str] | None", "tuple[str, ...]"]
"""Cells by genes, the cells' labels, the genes' names."""


def read_cells(path: Path, layer: str | None, label: str | None) -> Cells:
    """Table, labels and names of a file.

    Arguments:
        path: the file.
        layer: one of `layers`; the table `X` if None.
        label: the column of `obs` that holds labels; none if None.

    Raises:
        BadInput: when the file is damaged or too large, or points outside itself.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            x = table(inside(file, "X" if layer is None else f"layers/{layer}", path), path)
            labels = None if label is None else texts(inside(file, f"obs/{label}", path), path)
            return x, labels, names_of(file, path)
    except UncollapseError:
        raise
    except Exception as error:  # what h5py finds damaged may fail in any way
        raise BadInput(f"{path} is not a readable .h5ad file: {said(error)}") from error


def inside(file: Any, name: str, path: Path) -> Any:
    """An item of the file, reached without leaving it.

    Raises:
        BadInput: when it is not there, or when it is a link to, or lies in, another file.
    """
    import h5py

    item, walked = file, ""
    for step in name.split("/"):
        walked += f"/{step}"
        link = item.get(step, getlink=True) if isinstance(item, h5py.Group) else None
        if link is None:
            known = ", ".join(list(item)[:8]) if isinstance(item, h5py.Group) else ""
            raise BadInput(f"{path} has no {walked.strip('/')}; beside it are: {known or 'none'}")
        if not isinstance(link, h5py.HardLink):
            raise BadInput(f"{walked} in {path} is a link; only what lies in the file itself is read")
        item = item[step]
    if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
        raise BadInput(f"{walked} in {path} lies in another file; only what lies in the file itself is read")
    return item


def table(item: Any, path: Path) -> np.ndarray:
    """Cells by genes: whole numbers in the smallest type that holds them, or floats."""
    import h5py

    dense = isinstance(item, h5py.Dataset)
    shape = tuple(int(side) for side in (item.shape if dense else item.attrs["shape"]))
    if len(shape) != 2 or min(shape) < 0:
        raise BadInput(f"the table in {path} should be cells by genes, got {shape}")
    if shape[0] * shape[1] * 4 > (allowed := room(path.stat().st_size)):
        raise BadInput(f"the table in {path} announces {shape[0]} cells by {shape[1]} genes, {advice(allowed)}")
    if not dense and item.attrs.get("encoding-type") not in SPARSE:
        raise BadInput(f"the table in {path} is {item.attrs.get('encoding-type')!r}; known: dense, {', '.join(SPARSE)}")
    x = np.zeros(shape, np.float32)
    if dense:
        plain(item, path)
        for start in range(0, shape[0], ROWS):
            x[start : start + ROWS] = item[start : start + ROWS]
    else:
        fill(x, item, SPARSE[item.attrs["encoding-type"]], path)
    return whole(x)


def fill(x: np.ndarray, item: Any, axis: int, path: Path) -> None:
    """The numbers of a sparse table into a dense one of zeros, a stretch of rows (columns) at a time."""
    data, places, ends = (inside(item, name, path) for name in ("data", "indices", "indptr"))
    for one in (data, places, ends):
        plain(one, path)
    edges = np.asarray(ends[:], np.int64)
    if len(edges) != x.shape[axis] + 1 or edges[0] != 0 or (np.diff(edges) < 0).any() or edges[-1] > data.shape[0]:
        raise BadInput(f"the sparse table in {path} is damaged: its row ends do not fit its {data.shape[0]} numbers")
    for start, stop in stretches(edges):
        piece = slice(int(edges[start]), int(edges[stop]))
        at = np.asarray(places[piece], np.int64)
        if len(at) and not 0 <= at.min() <= at.max() < x.shape[1 - axis]:
            raise BadInput(f"the sparse table in {path} is damaged: a number lies outside its {x.shape} places")
        major = np.repeat(np.arange(start, stop), np.diff(edges[start : stop + 1]))
        np.add.at(x, (major, at) if axis == 0 else (at, major), np.asarray(data[piece], np.float32))


def plain(item: Any, path: Path) -> None:
    """Refuse what is not a table of numbers in pieces that can be unpacked one at a time."""
    import h5py

    if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "buif" or not item.shape:
        raise BadInput(f"{item.name} in {path} should hold numbers, got {getattr(item, 'dtype', 'a group')}")
    whole, piece = (math.prod(sides) * item.dtype.itemsize for sides in (item.shape, item.chunks or (0,)))
    if whole > (allowed := room(path.stat().st_size)) or piece > min(allowed, MOST_CHUNK):
        raise BadInput(f"{item.name} in {path} announces {whole} bytes, {piece} at a time, {advice(allowed)}")


def stretches(edges: np.ndarray) -> Iterator[tuple[int, int]]:
    """Pairs (start, stop) of rows."""
    for start in range(0, len(edges) - 1, ROWS):
        yield start, min(start + ROWS, len(edges) - 1)


def whole(x: np.ndarray) -> np.ndarray:
    """Counts as 16 or 32 bits; others as they are."""
    top = 0.0
    for start in range(0, len(x), ROWS):
        rows = x[start : start + ROWS]
        if not np.isfinite(rows).all() or (rows < 0).any() or (rows != np.rint(rows)).any():
            return x
        top = max(top, float(rows.max(initial=0)))
    if top > 2**24:  # floats are no longer exact there
        return x
    return x.astype(np.int16 if top < 2**15 else np.int32)


def texts(item: Any, path: Path) -> list[str]:
    """A column as texts: categories, words or numbers."""
    import h5py

    if isinstance(item, h5py.Group):  # categories, as anndata writes them
        codes = np.asarray(inside(item, "codes", path)[:], np.int64)
        names = texts(inside(item, "categories", path), path)
        if len(codes) and not -1 <= codes.min() <= codes.max() < len(names):
            raise BadInput(
                f"{item.name} in {path} is damaged: codes {codes.min()} to {codes.max()} of {len(names)} names"
            )
        fits(int(np.array([*map(len, names), 7])[codes].sum()), item, path)
        return ["missing" if code < 0 else names[code] for code in codes]
    taken, piece = (math.prod(sides) * max(8, item.dtype.itemsize) for sides in (item.shape, item.chunks or (0,)))
    if max(taken, piece) > (allowed := room(path.stat().st_size)) or taken > MOST_CHUNK:
        raise BadInput(f"{item.name} in {path} announces {item.size} entries, {advice(allowed)}")
    if item.dtype.kind == "O":
        return words(item, path)
    values = item.asstr()[:] if item.dtype.kind == "S" else item[:]
    return [str(value) for value in values]


def words(item: Any, path: Path) -> list[str]:
    """Texts of any length, a stretch at a time: every one of them may be all that the file holds."""
    step = max(1, min(ROWS, MAX_BYTES // max(path.stat().st_size, 1)))
    found: list[str] = []
    taken = 0
    for start in range(0, len(item), step):
        found += item.asstr()[start : start + step].tolist()
        taken += sum(map(len, found[start:]))
        fits(taken, item, path)
    return found


def fits(taken: int, item: Any, path: Path) -> None:
    """Refuse texts that take more than a file of this size may."""
    if taken > (allowed := room(path.stat().st_size)):
        raise BadInput(f"{item.name} in {path} holds {taken} characters, {advice(allowed)}")


def names_of(file: Any, path: Path) -> tuple[str, ...]:
    """Names of the genes; empty if there are none."""
    import h5py

    if file.get("var", getlink=True) is None:
        return ()
    group = inside(file, "var", path)
    index = str(group.attrs.get("_index", "_index"))
    known = isinstance(group, h5py.Group) and group.get(index, getlink=True) is not None
    return tuple(texts(inside(group, index, path), path)) if known else ()


def main() -> int:
    """Read a file into a folder: x.npy and facts.json, or the sentence alone; 0 either way."""
    path, out, seconds, *options = sys.argv[1:]
    with suppress(ImportError, ValueError, OSError):  # where there are no such limits, the parent's clock is left
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds)))
    layer, label = (text or None for text in options)
    try:
        x, labels, genes = read_cells(Path(path), layer, label)
        np.save(Path(out) / "x.npy", x, allow_pickle=False)
        facts: dict[str, Any] = {"labels": labels, "genes": list(genes)}
    except BadInput as error:
        facts = {"refused": str(error)}
    except (OSError, MemoryError) as error:
        facts = {"refused": f"{path} could not be unpacked into {out}: {said(error)}; make room there"}
    (Path(out) / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
