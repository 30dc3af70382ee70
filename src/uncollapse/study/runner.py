"""Run a study: skip what is done, resume what is half done, survive the death of a worker."""

import os
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uncollapse.errors import BadInput, UncollapseError, WorkFailed
from uncollapse.store import json_text, progress_of, read_json, write_json, write_text
from uncollapse.study.config import dump_study
from uncollapse.study.engine import Engine
from uncollapse.study.fingerprints import Fingerprints
from uncollapse.study.result import finished
from uncollapse.study.spec import Run, Study

__all__ = ["Job", "plan", "run_study"]

TRIES = 3  #: times that a run is started when its worker dies under it


@dataclass
class Job:
    """One run of a study and its folder.

    Attributes:
        run, folder: what and where.
        state: "waiting", "running", "half done", "done" or "failed".
        note: the error of a failed run.
        tries: how often it was started.
        fingerprint: of its data.
    """

    run: Run
    folder: Path
    state: str = "waiting"
    note: str = ""
    tries: int = 0
    fingerprint: str = ""

    @property
    def label(self) -> str:
        """Arm and seed."""
        return f"{self.run.arm}, seed {self.run.seed}"

    def progress(self) -> dict[str, Any]:
        """The last line of the run's log."""
        return progress_of(self.folder)


def plan(study: Study, folder: Path, data_dir: str | None = None) -> list[Job]:
    """The jobs of a study with their present state; nothing is written.

    A method all of whose runs are done is not built again, so a finished study is known without loading torch.

    Raises:
        BadInput: when a data set, a network or a remedy cannot be built, before any work is done.
        WorkFailed: when a result file is damaged.
    """
    prints = Fingerprints(folder, data_dir)
    jobs: list[Job] = []
    mistakes: dict[str, list[str]] = {}
    for run in study.runs():
        try:
            found = prints.of(run)
            jobs.append(Job(run, folder / run.hash(found), fingerprint=found))
        except UncollapseError as error:
            mistakes.setdefault(str(error), []).append(run.arm)
    for job in jobs:
        job.state, job.note = state_of(job.folder)
    for run in {job.run.arm: job.run for job in jobs if job.state != "done"}.values():
        try:
            buildable(run, prints)
        except UncollapseError as error:
            mistakes.setdefault(str(error), []).append(run.arm)
    if mistakes:
        raise BadInput(told(mistakes, len(study.arms)))
    return jobs


def buildable(run: Run, prints: Fingerprints) -> None:
    """Build what a run is made of, to see whether that can be done."""
    from uncollapse.study.build import build
    from uncollapse.study.legacy import check

    check(run.measure.legacy)
    build(run, prints.data(run))


def told(mistakes: dict[str, list[str]], arms: int) -> str:
    """All mistakes, each once, with the arms that make it where not all of them do."""
    sentences = []
    for words, names in mistakes.items():
        some = list(dict.fromkeys(names))
        sentences.append(words if len(some) == arms else f"arm {', '.join(map(repr, some))}: {words}")
    return sentences[0] if len(sentences) == 1 else "\n  ".join(["several mistakes:", *sentences])


def state_of(folder: Path) -> tuple[str, str]:
    """What the files of a run folder say, and the error of a failed run."""
    if finished(folder) is not None:
        return "done", ""
    if (folder / "failed.json").exists():
        return "failed", str(read_json(folder / "failed.json").get("error", ""))
    return ("half done", "") if (folder / "checkpoint.safetensors").exists() else ("waiting", "")


def run_study(
    study: Study,
    folder: Path,
    engine: Engine,
    data_dir: str | None = None,
    watch: Callable[[list[Job]], None] | None = None,
    command: str = "",
    jobs: list[Job] | None = None,
) -> list[Job]:
    """Do all runs of a study that are not done.

    Arguments:
        study: what to run.
        folder: of the study; one folder a run is made in it.
        engine: where to run.
        data_dir: where data files are looked for.
        watch: told at every change and about twice a second.
        command: how to repeat the study, for the page.
        jobs: what `plan` gave for this study and folder; made here if None.

    Returns:
        All jobs, each done or failed; a failed one does not stop the others.
    """
    jobs = jobs or plan(study, folder, data_dir)
    header = {**study.header(command), "hashes": [job.folder.name for job in jobs]}
    for name, text in {"study.yaml": dump_study(study), "study.json": json_text(header)}.items():
        if not same(folder / name, text):  # a file that stays as it is keeps its date, which says what is newer
            write_text(folder / name, text)
    Fingerprints(folder, data_dir).keep({repr(job.run.data): (job.run, job.fingerprint) for job in jobs})
    show = watch or (lambda jobs: None)
    pending: dict[Future[Any], Job] = {}
    for job in jobs:
        if job.state != "done":
            start(job, engine, data_dir, pending)
    while pending:
        show(jobs)
        finished_now, _ = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
        for future in finished_now:
            settle(future, pending.pop(future), engine, data_dir, pending)
        for job in pending.values():
            if job.state == "waiting" and (job.folder / "fit.json").exists():
                job.state = "running"
    show(jobs)
    return jobs


def same(path: Path, text: str) -> bool:
    """Whether a file holds this text."""
    try:
        return path.read_text(encoding="utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False


def start(job: Job, engine: Engine, data_dir: str | None, pending: dict[Future[Any], Job]) -> None:
    """Submit a job."""
    job.tries += 1
    job.state = "waiting"
    pending[engine.submit(work, job.run, job.folder, data_dir)] = job


def settle(
    future: "Future[Any]", job: Job, engine: Engine, data_dir: str | None, pending: dict["Future[Any]", Job]
) -> None:
    """Take in the end of a job; one whose worker died is submitted again."""
    error = future.exception()
    if error is None:
        job.state, job.note = "done", ""
    elif engine.died(error) and job.tries < TRIES:
        start(job, engine, data_dir, pending)
    else:
        job.state = "failed"
        job.note = f"its worker died {job.tries} times" if engine.died(error) else str(error)
        try:
            write_json(job.folder / "failed.json", {"error": job.note})
        except WorkFailed as unwritten:
            job.note += f" ({unwritten})"


def work(run: Run, folder: Path, data_dir: str | None) -> str:
    """What a worker does; errors are sent back as plain sentences."""
    if os.environ.get("OMP_NUM_THREADS") == "1":
        import torch

        torch.set_num_threads(1)
    from uncollapse.study.work import execute

    try:
        execute(run, folder, data_dir)
    except UncollapseError as error:
        raise WorkFailed(str(error)) from None
    except KeyboardInterrupt:
        raise WorkFailed("interrupted; run again to resume") from None
    return folder.name
