"""The runs of a study with their folders and states, from files alone where these say enough."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uncollapse.errors import BadInput, Damaged, Outdated, UncollapseError, WorkFailed
from uncollapse.store import GENERATIONS, json_text, progress_of, read_json, write_text
from uncollapse.study.config import dump_study
from uncollapse.study.fingerprints import Fingerprints
from uncollapse.study.result import finished
from uncollapse.study.spec import Run, Study

__all__ = ["Job", "header_files", "plan", "reason_of", "state_of", "survey"]


@dataclass
class Job:
    """One run of a study and its folder.

    Attributes:
        run, folder: what and where.
        state: "waiting", "running", "elsewhere" (another process has it), "half done", "done", "failed", or "damaged",
            which is done again.
        note: the error of a failed run, or who has it.
        tries: how often it was started without getting further.
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


def survey(study: Study, folder: Path, data_dir: str | None = None) -> list[Job]:
    """The jobs of a study that was started, from its files: no data are read and nothing is built.

    A study that was not started yet is planned.
    """
    runs, names = study.runs(), []
    if same(folder / "study.yaml", dump_study(study)):
        try:
            names = read_json(folder / "study.json").get("hashes", [])
        except (WorkFailed, AttributeError):
            names = []
    if len(names) != len(runs):
        return plan(study, folder, data_dir)
    jobs = [Job(run, folder / str(name)) for run, name in zip(runs, names, strict=True)]
    for job in jobs:
        job.state, job.note = state_of(job.folder)
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
    try:
        if finished(folder) is not None:
            return "done", ""
    except Damaged as error:
        return "damaged", str(error)
    except Outdated as error:
        return "failed", str(error)
    if (folder / "failed.json").exists():
        return "failed", reason_of(folder / "failed.json")
    begun = any((folder / name).exists() for name in (*GENERATIONS, "state.json"))
    return ("half done", "") if begun else ("waiting", "")


def reason_of(path: Path) -> str:
    """Why a run failed, as far as its file can be read."""
    try:
        found = read_json(path)
    except WorkFailed as error:
        return str(error)
    return str(found.get("error", "")) if isinstance(found, dict) else ""


def header_files(study: Study, jobs: Iterable[Job], folder: Path, command: str) -> list[str]:
    """Write what says which study a folder holds; names of the files that were not there or said something else."""
    header = {**study.header(command), "hashes": [job.folder.name for job in jobs]}
    fresh = []
    for name, text in {"study.yaml": dump_study(study), "study.json": json_text(header)}.items():
        if not same(folder / name, text):  # a file that stays as it is keeps its date, which says what is newer
            write_text(folder / name, text)
            fresh.append(name)
    return fresh


def same(path: Path, text: str) -> bool:
    """Whether a file holds this text."""
    try:
        return path.read_text(encoding="utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False
