"""One input to one reader, and what is a finding: anything but success or an error of ours, in time and in memory."""

import contextlib
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuzz.guard import guarded

__all__ = ["Finding", "Reader", "attempt", "limit_memory", "scratch", "warm"]

SECONDS = 10.0  # of the processor, for one small input
ROOM = 2 * 2**30  # bytes of address space beyond what the libraries take
LONGEST_SENTENCE = 2000


@dataclass(frozen=True)
class Reader:
    """What is fuzzed.

    Attributes:
        name: on the command line and of its corpus.
        run: opens an input, with an empty folder to put it into; raises what the package raises.
        seeds: small valid inputs by name.
        mutate: changes an input inside its packing; gets the input, a most length, a seed and the plain mutator.
        longest: bytes.
    """

    name: str
    run: Callable[[bytes, Path], Any]
    seeds: Callable[[], dict[str, bytes]]
    mutate: Callable[[bytes, int, int, Callable[[bytes, int], bytes]], bytes] | None = None
    longest: int = 8192


@dataclass(frozen=True)
class Finding:
    """What went wrong, and where.

    Attributes:
        key: the same for the same mistake.
        words: everything about it.
    """

    key: str
    words: str


class Hang(BaseException):
    """The time for one input is up; no `except Exception` stops it."""


def attempt(reader: Reader, data: bytes, folder: Path) -> Finding | None:
    """Run one input in an empty folder; None if all is well."""
    from uncollapse.errors import UncollapseError

    inner = folder / "in"
    inner.mkdir()
    started, wrong = time.process_time(), None
    try:
        with warnings.catch_warnings(), timed(), guarded(inner) as done:
            warnings.simplefilter("ignore")
            reader.run(data, inner)
    except UncollapseError as error:
        wrong = unclear(error)
    except (Exception, Hang) as error:
        wrong = located(error)
    if wrong is None and time.process_time() - started > SECONDS:
        wrong = Finding("slow", f"took {time.process_time() - started:.0f} seconds")
    if done:
        wrong = Finding(f"did {done[0].split('(')[0].split(' at 0x')[0][:40]}", "; ".join(done[:20]))
    left = [path.name for path in folder.iterdir() if path.name != "in"]
    if left:
        wrong = Finding("wrote outside", f"left {left} outside its folder")
    clear(folder)
    return wrong


def warm(reader: Reader, folder: Path) -> None:
    """Open every seed once unwatched, so that what is imported late is imported before anything is watched."""
    with contextlib.suppress(ImportError):
        from PIL import Image

        Image.init()  # Pillow imports all its formats when it meets one that it does not know
    for data in reader.seeds().values():
        (folder / "in").mkdir()
        with warnings.catch_warnings(), contextlib.suppress(Exception):
            warnings.simplefilter("ignore")
            reader.run(data, folder / "in")
        clear(folder)


def unclear(error: BaseException) -> Finding | None:
    """An error of ours that is no sentence for a terminal."""
    words = str(error)
    if not words.strip() or len(words) > LONGEST_SENTENCE or "\x1b" in words or "\0" in words:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return Finding(f"unclear sentence from {Path(place.filename).name}:{place.name}", repr(words[:3000]))
    return None


def located(error: BaseException) -> Finding:
    """An exception, keyed by its type and the last place in the package."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/uncollapse/" in frame.filename] or list(frames)
    place = f"{Path(own[-1].filename).name}:{own[-1].name}"
    whole = "".join(traceback.format_exception(error))
    return Finding(f"{type(error).__name__} in {place}", whole[-4000:])


@contextmanager
def timed() -> Iterator[None]:
    """Stop what takes more than its time on the processor; starved machines do not matter."""

    def stop(*_: object) -> None:
        raise Hang(f"more than {SECONDS:g} seconds")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def limit_memory(room: int = ROOM) -> None:
    """Let this process take no more than `room` bytes beyond what it has now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + room
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder in memory where inputs become files."""
    shared = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=shared if os.access(shared, os.W_OK) else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def clear(folder: Path) -> None:
    """Empty a folder."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


if sys.platform == "win32":
    raise SystemExit("the fuzzers need Linux: they limit memory and processor time")
