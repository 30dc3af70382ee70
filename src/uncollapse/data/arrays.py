"""Data sets from the user's own .npy and .npz files; nothing in them is ever unpickled."""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from uncollapse.data.dataset import DataSet
from uncollapse.data.idx import DEFLATE, MAX_BYTES, read_at_most
from uncollapse.data.tensors import FRACTIONS, from_tensors
from uncollapse.errors import BadInput

__all__ = ["read_arrays", "read_file"]

CHUNK = 2**12  # what a member may take beyond its compressed bytes
KEYS = "x with y if there are labels, or x_train, x_valid and x_test with y_train, y_valid and y_test"


def read_file(
    path: str | Path,
    seed: int = 0,
    binarise: str = "none",
    likelihood: str | None = None,
    scale: float = 1.0,
    divisor: float | None = None,
    fractions: Sequence[float] = FRACTIONS,
) -> DataSet:
    """A data set from an array file.

    A .npy file holds x. A .npz file holds x and perhaps y, or x_train, x_valid, x_test and their y. Arrays
    (N, H, W) are read as grey images (N, 1, H, W). Without x_valid, the training part is split.

    Arguments:
        path: the file.
        seed: of the split and the fixed draws.
        binarise, likelihood, scale, divisor, fractions: as for `from_tensors`.

    Raises:
        BadInput: when the file is missing, damaged, holds objects or lacks its keys.
        ShapeError: when the arrays are not examples.
    """
    arrays = read_arrays(path)
    if "x" in arrays and "x_train" in arrays:
        raise BadInput(f"{path} holds both x and x_train; expected {KEYS}")
    first = "x" if "x" in arrays else "x_train"
    if first not in arrays:
        raise BadInput(f"{path} should hold {KEYS}, got {', '.join(sorted(arrays)) or 'nothing'}")
    suffix = first.removeprefix("x")
    held_out: dict[str, Any] = {
        part: (grey(arrays[f"x_{part}"]), arrays.get(f"y_{part}"))
        for part in ("valid", "test")
        if f"x_{part}" in arrays
    }
    return from_tensors(
        grey(arrays[first]),
        arrays.get(f"y{suffix}"),
        **held_out,
        name=Path(path).stem,
        binarise=binarise,
        likelihood=likelihood,
        scale=scale,
        divisor=divisor,
        fractions=fractions,
        seed=seed,
    )


def grey(x: np.ndarray) -> np.ndarray:
    """Images without a channel dimension get one."""
    return x[:, None] if x.ndim == 3 else x


def read_arrays(path: str | Path, max_bytes: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """The arrays of a .npy file (under the name x) or of a .npz file.

    Raises:
        BadInput: when the file is missing, damaged, too large or holds anything but plain numbers.
    """
    path = Path(path)
    try:
        if path.suffix == ".npy":
            with path.open("rb") as file:
                return {"x": read_array(file, f"{path}", path.stat().st_size, max_bytes)}
        with zipfile.ZipFile(path) as archive:
            return dict(read_members(archive, path, max_bytes))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise BadInput(f"{path} is not a readable .npz file: {error}") from error
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror or error}") from error


def read_members(archive: zipfile.ZipFile, path: Path, max_bytes: int) -> list[tuple[str, np.ndarray]]:
    """Every array of an archive, by name."""
    members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
    total = sum(info.file_size for info in members)
    if total > max_bytes or any(info.file_size > DEFLATE * info.compress_size + CHUNK for info in members):
        raise BadInput(f"{path} announces {total} bytes of arrays, more than it can hold or than {max_bytes}")
    out = []
    for info in members:
        with archive.open(info) as file:
            name = info.filename.removesuffix(".npy")
            out.append((name, read_array(file, f"{name!r} in {path}", info.file_size, max_bytes)))
    return out


def read_array(file: IO[bytes], what: str, size: int, max_bytes: int) -> np.ndarray:
    """One array in NumPy's format, of a file or member of `size` bytes."""
    try:
        version = np.lib.format.read_magic(file)
        if version not in {(1, 0), (2, 0)}:
            raise ValueError(f"version {version} is for structured arrays")
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read_header(file)
    except ValueError as error:
        raise BadInput(f"{what} is not an array in NumPy's format: {error}") from error
    if dtype.kind not in "buif":
        raise BadInput(f"{what} should hold plain numbers, got {dtype}; objects are never unpickled")
    body = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if body > max_bytes or body > size:
        raise BadInput(f"{what} announces {shape} numbers of {dtype}, {body} bytes, but has only {size}")
    data = read_at_most(file, body)
    if len(data) != body:
        raise BadInput(f"{what} ends after {len(data)} of {body} bytes; it was cut short")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
