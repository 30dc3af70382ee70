"""A plain worker: takes whatever run of a study is free, until all are over. Start as many as you like, anywhere."""

import time
from collections.abc import Callable
from pathlib import Path

from uncollapse.claim import LEASE
from uncollapse.errors import WorkFailed
from uncollapse.storage import Place, at
from uncollapse.study.jobs import Job, reason_of
from uncollapse.study.runner import AWAY, prepare
from uncollapse.study.spec import Study
from uncollapse.study.task import Task, do

__all__ = ["work_through"]

POLL = 2.0  #: seconds between two looks at runs that others have


def work_through(
    study: Study,
    folder: "Path | str | Place",
    data_dir: str | None = None,
    watch: Callable[[list[Job]], None] | None = None,
    command: str = "",
    lease: float = LEASE,
    again: bool = False,
) -> list[Job]:
    """Do runs of a study that nobody else does, resume what a dead worker left, and wait for the others to end.

    Arguments:
        study, folder, data_dir, watch, command, lease: as in `run_study`.
        again: also take runs that failed before.

    Returns:
        All jobs, each done or failed, here or elsewhere.

    Raises:
        WorkFailed: when the place is out of reach for ten minutes.
    """
    place = at(folder) if isinstance(folder, str | Path) else folder
    place.refresh()
    jobs = prepare(study, place, data_dir, command)
    show = watch or (lambda jobs: None)
    for job in jobs:
        if again and job.state == "failed":
            cleared(job, place)
    left = [job for job in jobs if job.state not in {"done", "failed"}]
    reached = time.monotonic()
    while left:
        worked = False
        for job in left:
            worked |= take(job, place, data_dir, lease, lambda: show(jobs))
        if any(job.state != "waiting" for job in left):
            reached = time.monotonic()
        elif time.monotonic() - reached > AWAY:
            raise WorkFailed(f"{place.name} has been out of reach for {AWAY:.0f} seconds: {left[0].note}; start again")
        left = [job for job in left if job.state not in {"done", "failed"}]
        show(jobs)
        if left and not worked:
            time.sleep(POLL)
    place.refresh()
    show(jobs)
    return jobs


def cleared(job: Job, place: Place) -> None:
    """Let a run that failed be taken again."""
    try:
        place.remove(job.folder.name, "failed.json")
    except OSError as error:
        raise WorkFailed(f"cannot write {place.name}: {error.strerror or error}") from error
    job.state, job.note = "waiting", ""


def take(job: Job, place: Place, data_dir: str | None, lease: float, show: Callable[[], None]) -> bool:
    """Do one run, if it is free; whether there was anything to do. A place out of reach leaves the run waiting."""
    try:
        if place.holds(job.folder.name, "failed.json"):
            place.refresh()
            job.state, job.note = "failed", reason_of(job.folder / "failed.json")
            return True
    except (OSError, WorkFailed) as error:
        job.state, job.note = "waiting", getattr(error, "strerror", None) or str(error)
        return False
    show()
    outcome = do(Task(job.run, place.name, job.folder.name, job.fingerprint, data_dir, lease=lease, engine="worker"))
    if outcome["state"] == "interrupted":
        raise KeyboardInterrupt
    job.state, job.note = outcome["state"], outcome["note"]
    if job.state in {"held", "away"}:
        job.state = "elsewhere" if job.state == "held" else "waiting"
        return False
    job.tries += 1
    return True
