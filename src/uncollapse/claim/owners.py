"""Who has a claim, and whether that process still lives."""

import os
import platform
import time
import uuid
from pathlib import Path
from typing import Any

__all__ = ["LEASE", "Sightings", "dead", "here", "life", "owner", "place"]

LEASE = 60.0  #: seconds without a sign of life after which a claim may be taken over


class Sightings:
    """What a watcher saw of claims, and since when by its own clock."""

    def __init__(self) -> None:
        self.seen: dict[str, tuple[int, float]] = {}

    def unchanged(self, name: str, number: int) -> float:
        """For how many seconds this watcher has seen this number."""
        known = self.seen.get(name)
        if known is None or known[0] != number:
            self.seen[name] = known = (number, time.monotonic())
        return time.monotonic() - known[1]


def place() -> str:
    """Where process numbers mean the same: this boot of this machine, and its name space of processes."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116
    except OSError:
        return f"{platform.node()} {uuid.getnode()}" if os.name == "posix" else ""


def life(pid: int) -> tuple[str, str]:
    """State and start time of a process of this machine; state "" when it is gone."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return ("" if words[0] in "ZXx" else words[0]), words[19]
    except OSError:
        if Path("/proc/self/stat").exists():
            return "", ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return "", ""
    except OSError:
        pass
    return "?", ""


def here(record: dict[str, Any]) -> str | None:
    """State of the process of a record: "" when it is gone, None when it is not of this machine."""
    if not record.get("place") or record["place"] != place() or not isinstance(record.get("pid"), int):
        return None
    state, started = life(record["pid"])
    return state if started == record.get("started") else ""


def dead(record: dict[str, Any], unchanged: float = 0.0) -> bool:
    """Whether the owner of a claim is gone, or was seen without a sign of life for as long as its lease.

    A process of this machine that runs is alive, however busy; one that was stopped keeps its claim for a lease.
    """
    state = here(record)
    if state == "":
        return True
    lease = record.get("lease")
    silent = unchanged > (lease if isinstance(lease, int | float) and lease > 0 else LEASE)
    return silent and state in {None, "T", "t"}


def owner(record: dict[str, Any]) -> str:
    """An owner in words.

    Example:
        >>> owner({"host": "node7", "pid": 12}), owner({})
        ('process 12 on node7', 'an unknown process')
    """
    return f"process {record['pid']} on {record['host']}" if {"pid", "host"} <= record.keys() else "an unknown process"
