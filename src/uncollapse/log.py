"""A log of one JSON object a line: appended to while a run goes on, and read while it does."""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from uncollapse.drafts import drafted_file
from uncollapse.errors import WorkFailed

__all__ = ["Log", "progress_of"]

TAIL = 8192  #: bytes at the end of a log that are read to see how far a run is


class Log:
    """A file of one JSON object a line, each written at once; without a path it forgets everything."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.whole = False  #: whether the file is known to end with a line's end

    def append(self, **record: Any) -> None:
        """Add one line, whole or not at all; a line that a kill cut short gets an end of its own."""
        if self.path is None:
            return
        try:
            with self.path.open("ab+", buffering=0) as file:
                size = file.seek(0, 2)
                text = b"" if self.whole or ends_a_line(file, size) else b"\n"
                put(file, text + json.dumps(record).encode() + b"\n", size)
                self.whole = True
        except OSError as error:
            raise WorkFailed(f"cannot write {self.path}: {error.strerror or error}") from error

    def records(self) -> list[dict[str, Any]]:
        """All whole lines; a line cut short by a kill is left out, and what is no object too."""
        try:
            return [] if self.path is None else list(parsed(self.path.read_bytes().split(b"\n")))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise WorkFailed(f"cannot read {self.path}: {error.strerror or error}") from error

    def rewind(self, step: int) -> None:
        """Drop every line after `step`, which a resumed run writes again; the file stays when there is none."""
        if self.path is None or not self.path.exists():
            return
        kept = [record for record in self.records() if before(record, step)]
        text = "".join(json.dumps(record) + "\n" for record in kept)
        if text.encode() != self.path.read_bytes():
            try:
                with drafted_file(self.path) as temporary:
                    temporary.write_text(text, encoding="utf-8")
            except OSError as error:
                raise WorkFailed(f"cannot write {self.path}: {error.strerror or error}") from error


def ends_a_line(file: Any, size: int) -> bool:
    """Whether an open file is empty or ends with a line's end."""
    if size == 0:
        return True
    file.seek(size - 1)
    return bool(file.read(1) == b"\n")


def put(file: Any, line: bytes, size: int) -> None:
    """Append a line, or leave the file as it was where the disk does not take all of it."""
    try:
        written = file.write(line)
        if written != len(line):
            file.write(line[written:])  # a second call says what is wrong
    except OSError:
        with suppress(OSError):
            file.truncate(size)
        raise


def parsed(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The lines that are JSON objects."""
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            yield record


def before(record: dict[str, Any], step: int) -> bool:
    """Whether a line belongs to a step or to an earlier one."""
    found = record.get("step", 0)
    return isinstance(found, int | float) and found <= step


def progress_of(folder: Path) -> dict[str, Any]:
    """How far the run in a folder is: the end of its log, newer values over older ones; or an empty dict."""
    try:
        with (folder / "log.jsonl").open("rb") as file:
            file.seek(0, 2)
            file.seek(max(file.tell() - TAIL, 0))
            lines = file.read().split(b"\n")
    except OSError:
        return {}
    found: dict[str, Any] = {}
    for record in parsed(lines):
        found.update(record)
    return found
