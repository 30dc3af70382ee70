"""Reader of IDX files (the format of MNIST and its kin), plain or gzipped, that trusts no header."""

import gzip
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

import numpy as np

from uncollapse.errors import BadInput, said
from uncollapse.limits import MAX_BYTES, advice, regular, room

__all__ = ["MAX_BYTES", "read_at_most", "read_idx"]

DEFLATE = 1032  # deflate cannot expand a byte to more than this many
MOST_SIDES = 8
CHUNK = 2**20
TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | Path, dimensions: int | None = None, max_bytes: int | None = None) -> np.ndarray:
    """The array in an IDX file.

    The header is four bytes (two zeros, a type, the number of dimensions), then the dimensions as big-endian
    32-bit numbers. It is compared with the length of the file before anything is allocated.

    Arguments:
        path: the file; gzipped if it starts as gzip does, whatever its name.
        dimensions: how many there should be; any number if None.
        max_bytes: the largest array that is accepted; by the size of the file if None, see `limits.room`.

    Returns:
        The array in native byte order.

    Raises:
        BadInput: when the file is missing, is not IDX, is cut short, has something after its end, is damaged
            or claims to be larger than `max_bytes`.
    """
    path = regular(path)
    try:
        with path.open("rb") as probe:
            zipped = probe.read(2) == b"\x1f\x8b"
        size = path.stat().st_size
        opener = cast("Callable[[Path], IO[bytes]]", gzip.open if zipped else Path.open)
        with opener(path) if zipped else path.open("rb") as file:
            return parse(file, path, size * (DEFLATE if zipped else 1), zipped, dimensions, room(size, max_bytes))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadInput(f"{path} is a damaged gzip file ({said(error)}); fetch it again") from error
    except OSError as error:
        raise BadInput(f"cannot read {path}: {said(error)}") from error


def parse(file: IO[bytes], path: Path, most: int, zipped: bool, dimensions: int | None, max_bytes: int) -> np.ndarray:
    """The array from an open file that cannot hold more than `most` bytes."""
    kind, shape = read_header(file, path, dimensions)
    itemsize = np.dtype(kind).itemsize
    body, head = math.prod(shape) * itemsize, 4 + 4 * len(shape)
    claim = f"the header of {path} announces {' x '.join(map(str, shape))} numbers of {itemsize} byte(s)"
    if math.prod(max(side, 1) for side in shape) * itemsize > max_bytes:  # a side of 0 hides how large the others are
        raise BadInput(f"{claim}, {advice(max_bytes)}")
    if body + head > most or (not zipped and body + head != most):
        raise BadInput(f"{claim}, {body + head} bytes in all, but the file has {'at most ' * zipped}{most}")
    data = read_at_most(file, body + 1)
    if len(data) != body:
        more = "more" if len(data) > body else str(len(data))
        raise BadInput(f"{claim}, {body} bytes, but {more} follow it; fetch the file again")
    array = np.frombuffer(data, kind).reshape(shape)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def read_header(file: IO[bytes], path: Path, dimensions: int | None) -> tuple[str, tuple[int, ...]]:
    """Type and dimensions."""
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in TYPES or magic[3] == 0:
        raise BadInput(f"{path} is not an IDX file: it starts with {magic.hex(' ') or 'nothing'}")
    count = magic[3]
    if dimensions is not None and count != dimensions:
        raise BadInput(f"{path} should hold an array of {dimensions} dimension(s), got {count}; were files swapped?")
    if count > MOST_SIDES:
        raise BadInput(f"{path} announces {count} dimensions, more than the {MOST_SIDES} that are accepted")
    raw = file.read(4 * count)
    if len(raw) < 4 * count:
        raise BadInput(f"{path} ends within its header; fetch it again")
    return TYPES[magic[2]], tuple(int(size) for size in np.frombuffer(raw, ">u4"))


def read_at_most(file: IO[bytes], count: int) -> bytearray:
    """Up to `count` bytes, in pieces: memory grows with what is there, not with what was announced."""
    data = bytearray()
    while len(data) < count and (piece := file.read(min(CHUNK, count - len(data)))):
        data += piece
    return data
