"""Who worked on a run, from where to where, and how it ended: one small file an attempt, beside the run.

Every file has one writer, so none is ever fought over, on a disk or in a store. An attempt without an end was killed.
"""

import json
import os
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from uncollapse.claim import Claim
from uncollapse.errors import WorkFailed
from uncollapse.storage import Place
from uncollapse.store import json_text

__all__ = ["TRIES", "Attempt", "attempts", "fruitless"]

TRIES = 5  #: attempts that may die at one and the same step, before a run is taken for one that kills its workers


@dataclass
class Attempt:
    """One attempt at a run.

    Attributes:
        number: of its claim, by which attempts are in order.
        token: of its claim.
        host, pid, engine: where it ran.
        began, ended: times, for people.
        start: the step of the checkpoint from which it went on.
        outcome: "published" (the result is its own), "already there" (another was faster), "lost" (its claim was taken
            over), "failed", "interrupted", or "" when it runs or was killed.
    """

    number: int
    token: str
    start: int
    engine: str = ""
    host: str = ""
    pid: int = 0
    began: str = ""
    ended: str = ""
    outcome: str = ""

    @classmethod
    def of(cls, claim: Claim, start: int, engine: str) -> "Attempt":
        """The attempt of this process."""
        return cls(claim.number, claim.token, start, engine, platform.node(), os.getpid(), now())

    def write(self, place: Place, run: str) -> None:
        """Write it down."""
        place.write(run, f"attempt-{self.token[:12]}.json", json_text(asdict(self)))

    def end(self, place: Place, run: str, outcome: str) -> None:
        """Write down how it ended; a place that does not take that loses no more than this line."""
        self.ended, self.outcome = now(), outcome
        try:
            self.write(place, run)
        except (OSError, WorkFailed):
            return


def now() -> str:
    """The time, for people."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def attempts(folder: Path) -> list[dict[str, Any]]:
    """The attempts at the run in a folder, in order."""
    found = []
    for path in folder.glob("attempt-*.json"):
        try:
            one = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(one, dict) and isinstance(one.get("number"), int):
            found.append(one)
    return sorted(found, key=lambda one: one["number"])


def fruitless(folder: Path, start: int) -> int:
    """How many of the last attempts were killed without getting beyond this step."""
    count = 0
    for one in reversed(attempts(folder)):
        if one.get("outcome") or one.get("start") != start:
            break
        count += 1
    return count
