"""Annotated count tables (.h5ad, as anndata writes them), read without following links out of the file."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from uncollapse.data.dataset import DataSet
from uncollapse.data.idx import MAX_BYTES
from uncollapse.data.tables import coded
from uncollapse.data.tensors import FRACTIONS, from_tensors
from uncollapse.errors import BadInput, Unsupported

__all__ = ["read_h5ad"]

ROWS = 1024
SPARSE = {"csr_matrix": 0, "csc_matrix": 1}


def read_h5ad(
    path: str | Path,
    seed: int = 0,
    label: str | None = None,
    layer: str | None = None,
    binarise: str = "none",
    likelihood: str | None = None,
    scale: float = 1.0,
    fractions: Sequence[float] = FRACTIONS,
) -> DataSet:
    """A data set from an .h5ad file: cells by genes, dense or sparse.

    Arguments:
        path: the file.
        seed: of the split.
        label: the column of `obs` that holds labels, such as a cell type; none if None.
        layer: one of `layers`; the table `X` if None.
        binarise, scale, fractions: as for `from_tensors`.
        likelihood: if None, negative binomial where all values are whole numbers from 0, else Gaussian.

    Raises:
        BadInput: when the file is missing, damaged or too large, or points outside itself.
        Unsupported: when h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise Unsupported("h5ad files need h5py, which is not installed: pip install 'uncollapse[h5ad]'") from error
    path = Path(path)
    try:
        with h5py.File(path, "r") as file:
            where = "X" if layer is None else f"layers/{layer}"
            x = table(inside(file, where, path), path)
            labels = None if label is None else texts(inside(file, f"obs/{label}", path), path)
            genes = names_of(file, path)
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise BadInput(f"{path} is not a readable .h5ad file: {str(error).splitlines()[0]}") from error
    whole = x.dtype.kind in "ui"
    kind = likelihood or ("negative-binomial" if whole else "gaussian")
    y, classes = (None, ()) if labels is None else coded(labels)
    options: dict[str, Any] = {"binarise": binarise, "scale": scale, "fractions": fractions, "seed": seed}
    made = from_tensors(x, y, name=path.stem, likelihood=kind, divisor=1.0, classes=classes, **options)
    counts = kind in {"negative-binomial", "multinomial"} and len(genes) == x.shape[1]
    return replace(made, vocabulary=genes) if counts else made


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
    if len(shape) != 2 or min(shape) < 0 or shape[0] * shape[1] * 4 > MAX_BYTES:
        raise BadInput(f"the table in {path} should be cells by genes of at most {MAX_BYTES} bytes, got {shape}")
    if not dense and item.attrs.get("encoding-type") not in SPARSE:
        raise BadInput(f"the table in {path} is {item.attrs.get('encoding-type')!r}; known: dense, {', '.join(SPARSE)}")
    x = np.zeros(shape, np.float32)
    if dense:
        for start in range(0, shape[0], ROWS):
            x[start : start + ROWS] = item[start : start + ROWS]
    else:
        fill(x, item, SPARSE[item.attrs["encoding-type"]], path)
    return whole(x)


def fill(x: np.ndarray, item: Any, axis: int, path: Path) -> None:
    """The numbers of a sparse table into a dense one of zeros, a stretch of rows (columns) at a time."""
    data, places, ends = (inside(item, name, path) for name in ("data", "indices", "indptr"))
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
        return ["missing" if code < 0 else names[code] for code in codes]
    if item.size * 8 > MAX_BYTES:
        raise BadInput(f"{item.name} in {path} announces {item.size} entries; is this the right file?")
    values = item.asstr()[:] if item.dtype.kind in "OS" else item[:]
    return [str(value) for value in values]


def names_of(file: Any, path: Path) -> tuple[str, ...]:
    """Names of the genes; empty if there are none."""
    import h5py

    group = file.get("var")
    if not isinstance(group, h5py.Group):
        return ()
    index = group.attrs.get("_index", "_index")
    return tuple(texts(inside(group, str(index), path), path)) if str(index) in group else ()
