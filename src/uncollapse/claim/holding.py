"""Claims on local folders: what a run that is started by hand asks for."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from uncollapse.claim.chain import LEASE, Claim, try_claim
from uncollapse.claim.owners import Sightings, here, owner
from uncollapse.claim.shelves import Folder
from uncollapse.errors import RunConflict, WorkFailed

__all__ = ["held", "hold", "holding", "inherit", "lent"]


class Inherited:
    """A claim of the process that started this one, which keeps it alive and is told when it is lost."""

    def __init__(self) -> None:
        self.pid, self.thread, self.lost, self.shares = os.getpid(), threading.get_ident(), False, 0
        self.over = threading.Event()

    def check(self) -> None:
        """Nothing: the owner checks."""

    def release(self) -> None:
        """Nothing: the owner releases."""


HELD: dict[str, Claim | Inherited] = {}  #: claims of this process on local folders


@contextmanager
def holding(folder: Path, lease: float = LEASE) -> Iterator[Claim | Inherited]:
    """`hold` until the end of the block."""
    claim = hold(folder, lease)
    try:
        yield claim
    finally:
        claim.release()


@contextmanager
def lent(folder: Path, claim: Claim) -> Iterator[None]:
    """Let `hold` share a claim on a local folder that was taken by `try_claim`, within the block."""
    key = str(folder.resolve())
    HELD[key] = claim
    try:
        yield
    finally:
        HELD.pop(key, None)


def held(folder: str | Path | None) -> bool:
    """Whether this process has a claim on a local folder."""
    mine = None if folder is None else HELD.get(str(Path(folder).resolve()))
    return mine is not None and mine.pid == os.getpid() and not mine.over.is_set()


def inherit(folder: str | Path) -> None:
    """Let `hold` share, for as long as this process lives, the claim of the process that started it."""
    HELD[str(Path(folder).resolve())] = Inherited()


def hold(folder: Path, lease: float = LEASE) -> Claim | Inherited:
    """Claim a local folder, or share the claim that the caller's thread has; a silent owner is watched for its lease.

    Raises:
        RunConflict: when another has it.
        WorkFailed: when the disk does not take a file.
    """
    key = str(folder.resolve())
    mine = HELD.get(key)
    if mine is not None and mine.pid == os.getpid() and not mine.over.is_set() and not mine.lost:
        if mine.thread == threading.get_ident():
            mine.shares += 1
            return mine
        raise conflict(folder, "another thread of this process")
    try:
        HELD[key] = found = patient(Folder(folder), lease)
    except OSError as error:
        raise WorkFailed(f"cannot write in {folder}: {error.strerror or error}; choose another folder") from error
    return found


def patient(shelf: Folder, lease: float) -> Claim:
    """A claim, after watching a silent owner for as long as it takes to know whether it lives."""
    sightings, first = Sightings(), ""
    while True:
        found = try_claim(shelf, sightings, lease)
        if isinstance(found, Claim):
            return found
        if found.get("released"):
            continue
        first = first or str(found.get("at"))
        if here(found) or str(found.get("at")) != first:
            raise conflict(shelf.path, owner(found))
        time.sleep(0.2)


def conflict(folder: Path, who: str) -> RunConflict:
    """The sentence for the one who comes second."""
    return RunConflict(f"{folder} is being worked on by {who}; wait for it to end, or choose another folder")
