"""Reader of numeric arrays in MATLAB files of version 5 (also called v6 and v7), that trusts no header."""

import math
import zlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import IO, Protocol

import numpy as np

from uncollapse.data.idx import read_at_most
from uncollapse.errors import BadInput, said
from uncollapse.limits import advice, regular, room

__all__ = ["read_mat"]

HEADER = 128
COMPRESSED, MATRIX = 15, 14
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8", 16: "u1"}
CELL, CHARACTERS = 1, 4
PLAIN = {CHARACTERS, *range(6, 16)}  # array classes that hold numbers or characters, no structures or objects
COMPLEX = 0x0800
PIECE = 2**16
MOST_TEXTS = 10_000


class Stream(Protocol):
    """What an element is read from."""

    def read(self, count: int, /) -> bytes:
        """Up to `count` bytes."""


class Inflated:
    """The unpacked bytes of a compressed element, made only as they are read."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file, self.left = file, size
        self.unpack = zlib.decompressobj()

    def read(self, count: int) -> bytes:
        """Up to `count` bytes, at least one unless the element has ended."""
        out = b""
        while count and not out and not self.unpack.eof:
            packed = self.unpack.unconsumed_tail
            if not packed:
                packed = self.file.read(min(self.left, PIECE))
                self.left -= len(packed)
            if not packed:
                break
            out = self.unpack.decompress(packed, count)
        return out


class Element:
    """The sub-elements of one array, one after the other."""

    def __init__(self, stream: Stream, order: str, what: str) -> None:
        self.stream, self.order, self.what = stream, order, what

    def exactly(self, count: int) -> bytearray:
        """That many bytes."""
        data = read_at_most(self.stream, count)  # type: ignore[arg-type]  # only read() is used
        if len(data) != count:
            raise BadInput(f"{self.what} ends after {len(data)} of {count} bytes; fetch it again")
        return data

    def opened(self) -> None:
        """Step over the tag of an array within."""
        if np.frombuffer(self.exactly(8), self.order + "u4")[0] != MATRIX:
            raise BadInput(f"{self.what} is damaged: it holds something else where an array should be")

    def numbers(self, at_most: int) -> np.ndarray:
        """The numbers of the next sub-element, which may take `at_most` bytes."""
        tag = self.exactly(8)
        kind, size = (int(word) for word in np.frombuffer(tag, self.order + "u4"))
        small = kind >> 16
        if small:  # up to four bytes lie in the tag itself
            kind, size = kind & 0xFFFF, small
        if kind not in NUMBERS or size > at_most or (small and size > 4):
            raise BadInput(f"{self.what} is damaged: an element of type {kind} has {size} bytes, expected {at_most}")
        data = tag[4 : 4 + size] if small else self.exactly(size)
        if not small and size % 8:
            self.exactly(8 - size % 8)
        if size % np.dtype(NUMBERS[kind]).itemsize:
            raise BadInput(f"{self.what} is damaged: {size} bytes are no whole count of numbers")
        return np.frombuffer(data, self.order + NUMBERS[kind])


def read_mat(
    path: str | Path, names: Collection[str], texts: Collection[str] = (), max_bytes: int | None = None
) -> dict[str, np.ndarray]:
    """The arrays of some names in a MATLAB file.

    Only plain arrays and lists of texts are read; structures, functions and objects never are. Memory grows with what
    is in the file, not with what a header announces.

    Arguments:
        path: the file.
        names: which variables hold numbers; those that are not there are left out.
        texts: which variables are lists of texts.
        max_bytes: the largest array that is accepted; by the size of the file if None, see `limits.room`.

    Returns:
        Arrays in native byte order and MATLAB's memory order, in the type in which they are stored, which may be
        smaller than the type that they have in MATLAB. A list of texts (a cell array) comes as an array of texts.

    Raises:
        BadInput: when the file is missing, of another format, cut short, damaged or too large.
    """
    path = regular(path)
    try:
        with path.open("rb") as file:
            order = byte_order(file.read(HEADER), path)
            known = dict.fromkeys(names, False) | dict.fromkeys(texts, True)
            return dict(read_elements(file, order, path, known, room(path.stat().st_size, max_bytes)))
    except zlib.error as error:
        raise BadInput(f"{path} is damaged ({said(error)}); fetch it again") from error
    except OSError as error:
        raise BadInput(f"cannot read {path}: {said(error)}") from error


def byte_order(header: bytes, path: Path) -> str:
    """NumPy's sign for the byte order, from the first 128 bytes."""
    order = {b"IM": "<", b"MI": ">"}.get(header[126:128])
    if header.startswith((b"\x89HDF", b"MATLAB 7.3")):
        raise BadInput(f"{path} is a MATLAB 7.3 file; save it with -v7 instead")
    if order is None or np.frombuffer(header[124:126], order + "u2")[0] != 0x0100:
        raise BadInput(f"{path} is not a MATLAB file of version 5: it starts with {header[:16]!r}")
    return order


def read_elements(
    file: IO[bytes], order: str, path: Path, known: Mapping[str, bool], max_bytes: int
) -> Iterator[tuple[str, np.ndarray]]:
    """The named arrays, in the order of the file."""
    while tag := file.read(8):
        if len(tag) < 8:
            raise BadInput(f"{path} ends within an element; fetch it again")
        kind, size = (int(word) for word in np.frombuffer(tag, order + "u4"))
        end = file.tell() + size
        if kind in {COMPRESSED, MATRIX}:
            stream: Stream = Inflated(file, size) if kind == COMPRESSED else file
            found = read_matrix(Element(stream, order, f"{path}"), kind == COMPRESSED, known, max_bytes)
            if found is not None:
                yield found
        file.seek(end)


def read_matrix(
    element: Element, tagged: bool, known: Mapping[str, bool], max_bytes: int
) -> tuple[str, np.ndarray] | None:
    """Name and content of one array, or None if nobody asked for it."""
    if tagged:
        element.opened()
    kind, shape, name = read_description(element)
    if name not in known:
        return None
    element.what = f"{name!r} in {element.what}"
    if (kind == CELL) != known[name]:
        raise BadInput(f"{element.what} should be {'a list of texts' if known[name] else 'an array of numbers'}")
    if kind != CELL:
        return name, read_numbers(element, kind, shape, max_bytes)
    if math.prod(shape) > MOST_TEXTS:
        raise BadInput(f"{element.what} should be a short list of texts, got {' x '.join(map(str, shape))}")
    return name, np.array([read_text(element, max_bytes) for _ in range(math.prod(shape))], dtype=np.str_)


def read_description(element: Element) -> tuple[int, tuple[int, ...], str]:
    """Class, shape and name of an array."""
    flags = element.numbers(8)
    sides = element.numbers(4 * 32)
    if flags.dtype.kind == "f" or sides.dtype.kind == "f":
        raise BadInput(f"{element.what} is damaged: its sides should be whole numbers, got {flags}, {sides}")
    shape = tuple(int(side) for side in sides)
    name = element.numbers(64).tobytes().decode("latin-1")
    if len(flags) != 2 or len(shape) < 2 or min(shape) < 0:
        raise BadInput(f"{element.what} is damaged: it describes an array of shape {shape}")
    return int(flags[0]) & (0xFF | COMPLEX), shape, name


def read_numbers(element: Element, kind: int, shape: tuple[int, ...], max_bytes: int) -> np.ndarray:
    """The numbers of an array."""
    if kind not in PLAIN:
        raise BadInput(f"{element.what} should be a plain array of real numbers")
    sides, count = " x ".join(map(str, shape)), math.prod(shape)
    if math.prod(max(side, 1) for side in shape) > max_bytes:  # a side of 0 hides how large the others are
        raise BadInput(f"{element.what} announces {sides} numbers, {advice(max_bytes)}")
    numbers = element.numbers(min(count * 8, max_bytes))
    if len(numbers) != count:
        raise BadInput(f"{element.what} announces {sides} numbers, but holds {len(numbers)}")
    return numbers.astype(numbers.dtype.newbyteorder("="), copy=False).reshape(shape, order="F")


def read_text(element: Element, max_bytes: int) -> str:
    """One text of a list."""
    element.opened()
    kind, shape, _ = read_description(element)
    signs = read_numbers(element, kind, shape, min(max_bytes, PIECE)).ravel().tolist()
    try:
        return "".join(map(chr, signs))
    except (TypeError, ValueError, OverflowError) as error:
        raise BadInput(f"{element.what} is damaged: a text holds what is no character ({said(error)})") from error
