"""Data sets from the user's own .npy and .npz files; nothing in them is ever unpickled."""

import io
import lzma
import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from uncollapse.data.dataset import DataSet
from uncollapse.data.idx import DEFLATE, read_at_most
from uncollapse.data.tensors import FRACTIONS, from_tensors
from uncollapse.errors import BadInput, said
from uncollapse.limits import advice, regular, room

__all__ = ["read_arrays", "read_file"]

DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, ValueError)
LONGEST = 2**14  # bytes of a header; one of plain numbers takes 128
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


def read_arrays(path: str | Path, max_bytes: int | None = None) -> dict[str, np.ndarray]:
    """The arrays of a .npy file (under the name x) or of a .npz file.

    Raises:
        BadInput: when the file is missing, damaged, too large or holds anything but plain numbers.
    """
    path = regular(path)
    try:
        size = path.stat().st_size
        if path.suffix == ".npy":
            with path.open("rb") as file:
                return {"x": read_array(file, f"{path}", size, room(size, max_bytes))}
        with zipfile.ZipFile(path) as archive:
            return dict(read_members(archive, path, room(size, max_bytes)))
    except BadInput:
        raise
    except DAMAGED as error:
        raise BadInput(f"{path} is not a readable .npz file: {said(error)}") from error
    except OSError as error:
        raise BadInput(f"cannot read {path}: {said(error)}") from error


def read_members(archive: zipfile.ZipFile, path: Path, max_bytes: int) -> list[tuple[str, np.ndarray]]:
    """Every array of an archive, by name."""
    members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
    total = sum(info.file_size for info in members)
    if total > max_bytes:
        raise BadInput(f"{path} announces {total} bytes of arrays, {advice(max_bytes)}")
    if any(info.file_size > DEFLATE * info.compress_size + CHUNK for info in members):
        raise BadInput(f"{path} announces {total} bytes of arrays, more than it can hold; fetch it again")
    out = []
    for info in members:
        with archive.open(info) as file:
            name = info.filename.removesuffix(".npy")
            out.append((name, read_array(file, f"{name!r} in {path}", info.file_size, max_bytes)))
    return out


def read_array(file: IO[bytes], what: str, size: int, max_bytes: int) -> np.ndarray:
    """One array in NumPy's format, of a file or member of `size` bytes."""
    shape, fortran, dtype = read_header(file, what)
    if dtype.kind not in "buif" or dtype.fields or dtype.subdtype:
        raise BadInput(f"{what} should hold plain numbers, got {dtype}; objects are never unpickled")
    body = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or max(shape, default=0) > max_bytes or body > size:
        raise BadInput(f"{what} announces {shape} numbers of {dtype}, {body} bytes, but has only {size}")
    if body > max_bytes:
        raise BadInput(f"{what} announces {shape} numbers of {dtype}, {body} bytes, {advice(max_bytes)}")
    data = read_at_most(file, body)
    if len(data) != body:
        raise BadInput(f"{what} ends after {len(data)} of {body} bytes; it was cut short")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def read_header(file: IO[bytes], what: str) -> tuple[tuple[int, ...], bool, "np.dtype[Any]"]:
    """Shape, memory order and type; the header is taken whole before NumPy sees it, which believes its length."""
    start = bytes(read_at_most(file, 8))
    width = {b"\x01\x00": 2, b"\x02\x00": 4}.get(start[6:])
    if not start.startswith(np.lib.format.MAGIC_PREFIX) or width is None:
        raise BadInput(f"{what} is not an array of plain numbers in NumPy's format: it starts with {start!r}")
    length = bytes(read_at_most(file, width))
    count = int.from_bytes(length, "little")
    words = bytes(read_at_most(file, min(count, LONGEST)))
    if len(length) < width or len(words) < count:
        raise BadInput(f"{what} should have a header of at most {LONGEST} bytes, but announces {count}")
    read = np.lib.format.read_array_header_1_0 if width == 2 else np.lib.format.read_array_header_2_0
    try:
        shape, fortran, dtype = read(io.BytesIO(length + words))
    except Exception as error:  # what is no header of NumPy's may fail in any way as it is parsed
        raise BadInput(f"{what} is not an array in NumPy's format: {type(error).__name__}: {said(error)}") from error
    return tuple(int(side) for side in shape), bool(fortran), dtype
