"""The chain of numbered files: taking, renewing, losing and releasing a claim."""

import json
import os
import platform
import re
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from uncollapse.claim.owners import LEASE, Sightings, dead, life, owner, place
from uncollapse.claim.shelves import Shelf
from uncollapse.errors import RunConflict, WorkFailed

__all__ = ["LEASE", "Claim", "top", "try_claim"]

BEATS = 6  #: signs of life in a lease
PATTERN = re.compile(r"claim-(\d{1,18})\.json")


def top(shelf: Shelf) -> tuple[int, dict[str, Any]]:
    """Number and content of the highest claim; 0 where there is none, an empty content where it cannot be read."""
    for _ in range(100):
        numbers = [int(found[1]) for name in shelf.names() if (found := PATTERN.fullmatch(name))]
        if not numbers:
            return 0, {}
        text = shelf.read(title(max(numbers)))
        if text is not None:
            return max(numbers), parsed(text)
    raise WorkFailed(f"the claim on {shelf.name} changes faster than it can be read; try again")


def title(number: int) -> str:
    """The name of the file of a number."""
    return f"claim-{number:08d}.json"


def parsed(text: str) -> dict[str, Any]:
    """The content of a claim; one that was cut short says nothing."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def try_claim(shelf: Shelf, sightings: Sightings, lease: float = LEASE) -> "Claim | dict[str, Any]":
    """The claim on a shelf, or what is known of the owner who has it.

    Arguments:
        shelf: where the claim is.
        sightings: what was seen before; a silent owner can only be told by looking twice.
        lease: seconds without a sign of life after which others may take the claim over.
    """
    number, record = top(shelf)
    ended = record.get("released") or record.get("token") in ENDED
    if number and not ended and not dead(record, sightings.unchanged(shelf.name, number)):
        return record
    claim = Claim(shelf, lease, number)
    return claim.start() if claim.advance() else top(shelf)[1]


ENDED: set[str] = set()  #: tokens of claims of this process that were released


@dataclass
class Claim:
    """A claim that this process has, renewed by a thread until it is released or lost.

    Attributes:
        shelf: where its files are.
        lease: seconds.
        number: of its present file.
        lost: the owner who took it over, in words; empty as long as it is ours.
    """

    shelf: Shelf
    lease: float
    number: int
    lost: str = ""
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    renewed: float = 0.0
    pid: int = field(default_factory=os.getpid)
    thread: int = field(default_factory=threading.get_ident)
    shares: int = 1
    over: threading.Event = field(default_factory=threading.Event)
    lock: Any = field(default_factory=threading.Lock)

    def start(self) -> "Claim":
        """Renew it from now on."""
        threading.Thread(target=self.beat, name="uncollapse-claim", daemon=True).start()
        return self

    def beat(self) -> None:
        """Give signs of life; a disk that does not take one is tried again, for `check` to find out."""
        while not self.over.wait(self.lease / BEATS):
            with suppress(OSError):
                if not self.renew():
                    return

    def renew(self) -> bool:
        """Whether it is still ours, asked of the storage."""
        with self.lock:
            if not self.lost and not self.over.is_set() and not self.advance():
                self.lost = owner(top(self.shelf)[1])
            return not self.lost

    def advance(self, released: bool = False) -> bool:
        """Make the file of the next number; False when another has gone ahead."""
        mine = title(self.number + 1)
        if not self.shelf.create(mine, self.text(released)) and not self.made(mine):
            return False
        numbers = [int(found[1]) for name in self.shelf.names() if (found := PATTERN.fullmatch(name))]
        if max(numbers, default=0) > self.number + 1:  # a number of long ago, free again
            self.shelf.remove(mine)
            return False
        self.number += 1
        self.renewed = waking()
        for number in numbers:
            if number < self.number:
                self.shelf.remove(title(number))
        return True

    def made(self, name: str) -> bool:
        """Whether a file that is said to be there is ours: a request that was repeated by the network finds itself."""
        return parsed(self.shelf.read(name) or "").get("token") == self.token

    def text(self, released: bool) -> str:
        """What a file of this claim says; `at` is for people, no program compares it."""
        return json.dumps({
            "token": self.token, "host": platform.node(), "pid": self.pid, "started": life(self.pid)[1],
            "place": place(), "lease": self.lease, "at": round(time.time(), 3), "released": released,
        }) + "\n"  # fmt: skip

    def check(self, now: bool = False) -> None:
        """Go on only when the claim is ours.

        Arguments:
            now: ask the storage, whenever that was done before.

        Raises:
            RunConflict: when another took it over.
            WorkFailed: when it cannot be renewed.
        """
        try:
            if now or waking() - self.renewed > 2 * self.lease / BEATS:
                self.renew()
        except OSError as error:
            raise WorkFailed(f"cannot renew the claim on {self.shelf.name}: {error.strerror or error}") from error
        if self.lost:
            raise RunConflict(
                f"{self.shelf.name} was taken over by {self.lost} while this process gave no sign of life; "
                "nothing is lost, that one goes on"
            )

    def release(self) -> None:
        """Let others have it, when everybody who shares it in this process is done."""
        self.shares -= 1
        if self.shares > 0 or self.over.is_set():
            return
        self.over.set()
        ENDED.add(self.token)  # a full disk may not take the word
        with self.lock, suppress(OSError):
            if not self.lost and self.pid == os.getpid():
                self.advance(released=True)


def waking() -> float:
    """A clock that goes on while the machine sleeps, where there is one."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
