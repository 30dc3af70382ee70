"""Arrays taken in pieces, into .npy files or into memory, with their digest and range."""

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uncollapse.errors import BadInput

__all__ = ["About", "Store"]


@dataclass(frozen=True)
class About:
    """What is written down about one array."""

    shape: tuple[int, ...]
    dtype: str
    digest: str
    low: float
    high: float


class Store:
    """Takes arrays in pieces, so that they never have to be in memory at once.

    Arguments:
        folder: where .npy files are written; in memory if None.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.arrays: dict[str, np.ndarray] = {}
        self.about: dict[str, About] = {}
        self.facts: dict[str, Any] = {}

    def put(self, name: str, array: np.ndarray) -> None:
        """A whole array."""
        self.write(name, array.shape, array.dtype, [array])

    def write(self, name: str, shape: Sequence[int], dtype: Any, pieces: Iterable[np.ndarray]) -> None:
        """An array from pieces along its first dimension.

        Arguments:
            name: of the array.
            shape: of the whole.
            dtype: its type.
            pieces: arrays (n, *shape[1:]) that make up the whole, in order.

        Raises:
            BadInput: when the pieces do not add up to the shape.
            OSError: when the disk is full or not writable.
        """
        kind, digest, edges, done = np.dtype(dtype), hashlib.sha256(), (math.inf, -math.inf), 0
        sink = Memory(shape, kind) if self.folder is None else Disk(self.folder / f"{name}.npy", shape, kind)
        with sink:
            for piece in pieces:
                rows = np.ascontiguousarray(piece, kind)
                done += len(rows)
                if rows.shape[1:] != tuple(shape[1:]) or done > shape[0]:
                    raise BadInput(f"{name} should be an array {tuple(shape)}, got a piece {rows.shape} after {done}")
                digest.update(rows.data)
                sink.take(rows)
                edges = widened(edges, rows)
        if done != shape[0]:
            raise BadInput(f"{name} should have {shape[0]} examples, but only {done} could be read")
        if isinstance(sink, Memory):
            self.arrays[name] = sink.array
        self.about[name] = About(tuple(shape), kind.str, digest.hexdigest(), *edges)


class Memory:
    """Collects rows in memory."""

    def __init__(self, shape: Sequence[int], kind: np.dtype[Any]) -> None:
        self.array, self.done = np.empty(tuple(shape), kind), 0

    def __enter__(self) -> "Memory":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def take(self, rows: np.ndarray) -> None:
        """The next rows."""
        self.array[self.done : self.done + len(rows)] = rows
        self.done += len(rows)


class Disk:
    """Writes rows into a .npy file: plain writing, because a full disk under a memory map kills the process."""

    def __init__(self, path: Path, shape: Sequence[int], kind: np.dtype[Any]) -> None:
        self.file = path.open("wb")
        header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": tuple(shape)}
        np.lib.format.write_array_header_1_0(self.file, header)

    def __enter__(self) -> "Disk":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def take(self, rows: np.ndarray) -> None:
        """The next rows."""
        self.file.write(rows.data)


def widened(edges: tuple[float, float], rows: np.ndarray) -> tuple[float, float]:
    """Smallest and largest number so far; NaN if there is one."""
    if rows.size == 0:
        return edges
    return float(np.minimum(edges[0], rows.min())), float(np.maximum(edges[1], rows.max()))
