"""How far the runs of a study are, who does them and how fast, from files alone: on any machine that sees them."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from uncollapse.claim import LEASE, Folder, Sightings, dead, top
from uncollapse.errors import WorkFailed
from uncollapse.store import read_json
from uncollapse.study.attempts import attempts
from uncollapse.study.jobs import Job

__all__ = ["Status", "counted", "left"]

OVER = ("done", "failed")


class Status:
    """One row a run; looked at again, it knows better how long a worker has been silent.

    The age of a sign of life is taken from the worker's clock at first, and from changes that were seen after that.
    """

    def __init__(self) -> None:
        self.sightings = Sightings()
        self.first: dict[str, tuple[int, float]] = {}

    def rows(self, jobs: Sequence[Job]) -> list[dict[str, Any]]:
        """What is known of every run."""
        return [self.row(job) for job in jobs]

    def row(self, job: Job) -> dict[str, Any]:
        """What is known of one run."""
        found: dict[str, Any] = {
            "arm": job.run.arm, "seed": job.run.seed, "state": job.state, "folder": str(job.folder), "note": job.note,
            **pace(job), "worker": "", "engine": "", "attempts": 0, "beat": None,
        }  # fmt: skip
        if job.state == "done":
            return found | {"eta": 0.0}
        tried = attempts(job.folder)
        if tried:
            found |= {"attempts": len(tried), "engine": tried[-1].get("engine", "")}
        number, record = claim_of(job.folder)
        if number and not record.get("released"):
            found |= self.alive(job.folder, number, record)
        return found | ({} if found["state"] == "running" else {"eta": None})

    def alive(self, folder: Path, number: int, record: dict[str, Any]) -> dict[str, Any]:
        """Whether the owner of a claim gives signs of life, and how old the last one is."""
        seen = self.sightings.unchanged(str(folder), number)
        at = record.get("at")
        if str(folder) not in self.first:
            self.first[str(folder)] = (number, max(time.time() - at, 0.0) if isinstance(at, int | float) else 0.0)
        first, age = self.first[str(folder)]
        age = seen + (age if first == number else 0.0)
        worker = f"{record.get('host', '?')}:{record.get('pid', '?')}"
        if dead(record):
            return {"state": "half done", "note": f"its worker {worker} is gone", "beat": round(age, 1)}
        lease = record.get("lease", LEASE)
        silent = age > (lease if isinstance(lease, int | float) else LEASE)
        return {"state": "silent" if silent else "running", "worker": worker, "beat": round(age, 1)}


def claim_of(folder: Path) -> tuple[int, dict[str, Any]]:
    """The claim on a run, as far as it can be read."""
    try:
        return top(Folder(folder))
    except (OSError, WorkFailed):
        return 0, {}


def pace(job: Job) -> dict[str, Any]:
    """Step, total, steps a second while training, and seconds that are left."""
    log = job.progress()
    try:
        state = read_json(job.folder / "state.json")
    except WorkFailed:
        state = {}
    state = state if isinstance(state, dict) else {}
    step = max(number(log.get("step")), number(state.get("step")))
    total = max(number(log.get("total")), number(state.get("total")))
    done, seconds = (number(log.get("step")), number(log.get("seconds"))) if log.get("seconds") else (
        number(state.get("step")), number(state.get("seconds"))
    )  # fmt: skip
    rate = done / seconds if seconds > 0 else None
    eta = max(total - step, 0) / rate if rate and total else None
    return {
        "step": int(step), "total": int(total), "rate": None if rate is None else round(rate, 2),
        "eta": None if eta is None else round(eta, 1),
    }  # fmt: skip


def number(value: Any) -> float:
    """A number, or 0."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def counted(rows: Sequence[dict[str, Any]]) -> str:
    """`3 done, 1 waiting`."""
    states = [row["state"] for row in rows]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


def left(rows: Sequence[dict[str, Any]]) -> float | None:
    """Seconds of training that are left at the present speed, or None where nothing runs that says how fast.

    Runs that have not begun count as long as those that have; measuring is not counted.
    """
    rates = [row["rate"] for row in rows if row["state"] == "running" and row["rate"]]
    totals = [row["total"] for row in rows if row["total"]]
    if not rates or not totals:
        return None
    usual = sum(totals) / len(totals)
    steps = sum((row["total"] or usual) - row["step"] for row in rows if row["state"] not in OVER)
    return float(max(steps, 0) / sum(rates))
