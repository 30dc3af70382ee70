"""Run a study: skip what is done, resume what is half done, survive the death of workers and of this process."""

import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextlib import suppress
from pathlib import Path
from typing import Any

from uncollapse.claim import LEASE, Sightings, dead, top
from uncollapse.errors import Outdated, WorkFailed
from uncollapse.storage import Place, at
from uncollapse.store import json_text
from uncollapse.study.engines import Engine
from uncollapse.study.fingerprints import Fingerprints
from uncollapse.study.jobs import Job, header_files, plan
from uncollapse.study.spec import Study
from uncollapse.study.task import Task, do, sound, step_of
from uncollapse.study.tidying import tidy

__all__ = ["Job", "plan", "prepare", "run_study"]

TRIES = 3  #: times that a run is started when its worker dies under it without getting further
LOOK = 2.0  #: seconds between two looks at runs that others have
REFRESH = 5.0  #: seconds between two looks at a store
AWAY = 600.0  #: seconds for which a place may be out of reach


def run_study(
    study: Study,
    folder: "Path | str | Place",
    engine: Engine,
    data_dir: str | None = None,
    watch: Callable[[list[Job]], None] | None = None,
    command: str = "",
    jobs: list[Job] | None = None,
    lease: float = LEASE,
) -> list[Job]:
    """Do all runs of a study that are not done.

    Arguments:
        study: what to run.
        folder: of the study, or its address; one folder a run is made in it.
        engine: where to run.
        data_dir: where data files are looked for.
        watch: told at every change and about twice a second.
        command: how to repeat the study, for the page.
        jobs: what `plan` gave for this study and folder; made here if None.
        lease: seconds without a sign of life after which a run may be taken over.

    Returns:
        All jobs, each done or failed; a failed one does not stop the others.
    """
    place = at(folder) if isinstance(folder, str | Path) else folder
    jobs = prepare(study, place, data_dir, command, jobs)
    driver = Driver(place, engine, data_dir, lease)
    driver.run(jobs, watch or (lambda jobs: None))
    return jobs


def prepare(
    study: Study, place: Place, data_dir: str | None = None, command: str = "", jobs: list[Job] | None = None
) -> list[Job]:
    """The jobs of a study, whose header lies in its folder from now on."""
    jobs = jobs or plan(study, place.folder, data_dir)
    if any(job.state != "done" for job in jobs):
        place.ready()
    fresh = header_files(study, jobs, place.folder, command)
    Fingerprints(place.folder, data_dir).keep({repr(job.run.data): (job.run, job.fingerprint) for job in jobs})
    place.publish(*fresh, *(["data.json"] if fresh else []))
    return jobs


class Driver:
    """Hands the runs to an engine until all are over.

    Arguments:
        place, engine, data_dir, lease: as in `run_study`.
    """

    def __init__(self, place: Place, engine: Engine, data_dir: str | None, lease: float) -> None:
        self.place, self.engine, self.data_dir, self.lease = place, engine, data_dir, lease
        self.pending: dict[Future[Any], Job] = {}
        self.held: dict[str, Job] = {}  #: runs that another process has
        self.since: dict[str, float] = {}  #: when a place began to be out of reach
        self.steps: dict[str, int] = {}  #: how far a run was when it was started
        self.mourned: dict[str, int] = {}  #: claims of dead workers that were replaced
        self.sightings = Sightings()
        self.looked = self.refreshed = self.glanced = time.monotonic()

    def run(self, jobs: list[Job], show: Callable[[list[Job]], None]) -> None:
        """Until every job is done or failed."""
        for job in jobs:
            if job.state == "done":
                tidy(job.folder)
            else:
                self.start(job)
        while self.pending or self.held:
            show(jobs)
            if self.pending:
                over, _ = wait(self.pending, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in over:
                    self.settle(future, self.pending.pop(future))
            else:
                time.sleep(0.5)
            self.look()
            self.glance()
        self.place.refresh()
        show(jobs)

    def start(self, job: Job, silent: int = 0) -> None:
        """Submit a job."""
        step = step_of(job.folder)
        job.tries = 1 if step > self.steps.get(job.folder.name, step) else job.tries + 1
        self.steps[job.folder.name] = step
        job.state, job.note = "waiting", ""
        name = getattr(self.engine, "name", "local")
        task = Task(
            job.run, self.place.name, job.folder.name, job.fingerprint, self.data_dir, lease=self.lease, silent=silent,
            engine=name,
        )  # fmt: skip
        self.pending[self.engine.submit(do, task)] = job

    def settle(self, future: "Future[Any]", job: Job) -> None:
        """Take in the end of a job; one whose worker died is submitted again."""
        try:
            outcome = future.result()
        except Exception as error:
            self.broken(job, error)
            return
        if outcome["state"] == "interrupted":  # by a scheduler, since this process still runs
            self.broken(job, CancelledError())
            return
        job.state, job.note = outcome["state"], outcome["note"]
        if job.state in {"held", "away"}:
            if job.state == "away" and self.too_long(job):
                job.state = "failed"
                return
            job.state, job.tries = "elsewhere" if job.state == "held" else "waiting", job.tries - 1
            self.held[job.folder.name] = job

    def too_long(self, job: Job) -> bool:
        """Whether the place has been out of reach for too long."""
        return time.monotonic() - self.since.setdefault(job.folder.name, time.monotonic()) > AWAY

    def broken(self, job: Job, error: BaseException) -> None:
        """A worker was lost, or cannot work at all."""
        lost = isinstance(error, CancelledError) or self.engine.died(error)
        if lost and (job.tries < TRIES or step_of(job.folder) > self.steps[job.folder.name]):
            self.start(job)
            return
        job.state = "failed"
        job.note = f"its worker died {job.tries} times" if lost else f"{type(error).__name__}: {error}"
        try:
            self.place.write(job.folder.name, "failed.json", json_text({"error": job.note}))
        except (OSError, WorkFailed) as unwritten:
            job.note += f" ({unwritten})"

    def look(self) -> None:
        """See whether runs that others have are done, or can be taken over."""
        if time.monotonic() - self.looked < LOOK:
            return
        self.looked = time.monotonic()
        if getattr(self.engine, "deaf", False):
            self.listen()
        for name, job in list(self.held.items()):
            try:
                if sound(self.place, name):
                    job.state, job.note = "done", ""
                    del self.held[name]
                    continue
                shelf = self.place.shelf(name)
                number, record = top(shelf)
                if not number or record.get("released") or dead(record, self.sightings.unchanged(shelf.name, number)):
                    del self.held[name]
                    self.start(job, silent=number)
            except Outdated as error:
                job.state, job.note = "failed", str(error)
                del self.held[name]
            except (OSError, WorkFailed):
                continue

    def listen(self) -> None:
        """Take runs whose worker is gone from an engine that may never say so; if it does them too, no harm is done."""
        for future, job in list(self.pending.items()):
            if job.state != "running":
                continue
            with suppress(OSError, WorkFailed):
                shelf = self.place.shelf(job.folder.name)
                number, record = top(shelf)
                if record.get("released") or self.mourned.get(job.folder.name) == number:
                    continue
                if number and dead(record, self.sightings.unchanged(shelf.name, number)):
                    self.mourned[job.folder.name] = number  # its successor may take a while to begin
                    del self.pending[future]
                    self.broken(job, CancelledError())

    def glance(self) -> None:
        """Bring copies of files up to date, and see which jobs have begun; at most a thousand a second."""
        now = time.monotonic()
        if now - self.refreshed > REFRESH:
            with suppress(WorkFailed):
                self.place.refresh()
            self.refreshed = time.monotonic()
        if now - self.glanced < len(self.pending) / 1000:
            return
        self.glanced = now
        for job in self.pending.values():
            if job.state == "waiting" and (job.folder / "fit.json").exists():
                job.state = "running"
