"""Lines of a text file, plain or gzipped, that may be of any size and hold anything."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from uncollapse.errors import BadInput, said
from uncollapse.limits import regular, room

__all__ = ["MAX_LINE", "MAX_TEXT", "lines_of", "read_lines", "text_of"]

MAX_LINE = 2**20  # bytes; a longer line is no sentence, and could fill the memory
MAX_TEXT = 2**30  # bytes after unpacking
MAX_LINES = 10_000_000
BOM = b"\xef\xbb\xbf"


def read_lines(path: str | Path, max_bytes: int = MAX_TEXT, max_line: int = MAX_LINE) -> Iterator[bytes]:
    """The lines of a text file, without their ends.

    Arguments:
        path: the file; gzipped if it starts as gzip does, whatever its name.
        max_bytes: the longest text that is accepted, after unpacking; less for small files, see `limits.room`.
        max_line: the longest line.

    Raises:
        BadInput: when the file is missing, damaged, not text, or larger than what is accepted.
    """
    path = regular(path)
    try:
        allowed = min(max_bytes, room(path.stat().st_size))
        with path.open("rb") as probe:
            zipped = probe.read(2) == b"\x1f\x8b"
        with cast("IO[bytes]", gzip.open(path)) if zipped else path.open("rb") as file:
            yield from lines_of(file, str(path), allowed, max_line)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadInput(f"{path} is a damaged gzip file ({said(error)}); fetch it again") from error
    except OSError as error:
        raise BadInput(f"cannot read {path}: {said(error)}") from error


def lines_of(file: IO[bytes], what: str, max_bytes: int = MAX_TEXT, max_line: int = MAX_LINE) -> Iterator[bytes]:
    """The lines of an open file; no more than one of them is in memory."""
    total, number = 0, 0
    while line := file.readline(max_line + 1):
        number, total = number + 1, total + len(line)
        if len(line) > max_line:
            raise BadInput(f"line {number} of {what} has more than {max_line} bytes; expected a sentence a line")
        if total > max_bytes or number > MAX_LINES:
            limit = f"{max_bytes} bytes" if total > max_bytes else f"{MAX_LINES} lines"
            raise BadInput(
                f"{what} holds more than the {limit} of text that are accepted of a file of its size; split it, or "
                "unpack it if you trust it"
            )
        if b"\0" in line:
            raise BadInput(f"line {number} of {what} holds a zero byte; expected plain text, a sentence a line")
        yield line.removeprefix(BOM if number == 1 else b"").rstrip(b"\r\n")


def text_of(raw: bytes, where: str) -> str:
    """Bytes as UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"{where} is not UTF-8 text ({error.reason} at byte {error.start}); convert it first") from None
