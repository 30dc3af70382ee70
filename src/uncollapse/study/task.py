"""What a worker does with one run: claim it, go on where it was, publish its result once; on any engine."""

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uncollapse.claim import LEASE, Claim, Sightings, owner, top, try_claim
from uncollapse.errors import Damaged, RunConflict, UncollapseError, WorkFailed
from uncollapse.storage import Place, at
from uncollapse.store import json_text, read_json
from uncollapse.study.attempts import TRIES, Attempt, fruitless
from uncollapse.study.result import finished
from uncollapse.study.spec import Run

__all__ = ["Task", "do", "sound", "step_of"]

SEEN = Sightings()  #: what this process saw of the claims of others
ONE = threading.Lock()  #: torch's random state and threads are of the whole process, so it does one run at a time


@dataclass(frozen=True)
class Task:
    """One run as it is sent to a worker, which may be on another machine.

    Attributes:
        run: what to do.
        place: path or address of the study.
        name: of the run's folder.
        fingerprint: that its data must have; "" takes any.
        data_dir: where data files are looked for.
        folder: the working folder of whoever asks, for paths that are relative to it.
        lease: seconds without a sign of life after which others may take the run over.
        silent: number of a claim on the run that was seen to be dead.
        engine: for the record.
    """

    run: Run
    place: str
    name: str
    fingerprint: str = ""
    data_dir: str | None = None
    folder: str = field(default_factory=os.getcwd)
    lease: float = LEASE
    silent: int = 0
    engine: str = "local"


def do(task: Task) -> dict[str, Any]:
    """Do a run, if nobody else does.

    Returns:
        {"state": "done"}, or "failed", "held" (by another), "away" (the place is out of reach) or "interrupted", with
        a "note". Errors that are raised mean that the worker is broken, and not that the work failed.
    """
    with ONE:
        return done(task)


def done(task: Task) -> dict[str, Any]:
    """Do a run, while no other thread of this process does one."""
    quiet(task.folder)
    try:
        place = at(task.place)
        if sound(place, task.name):
            return {"state": "done", "note": ""}
        found = claimed(place, task)
        return attempted(place, task, found) if isinstance(found, Claim) else {"state": "held", "note": owner(found)}
    except OSError as error:
        return {"state": "away", "note": str(error.strerror or error)}
    except UncollapseError as error:
        return {"state": "failed", "note": str(error)}


def quiet(folder: str) -> None:
    """One thread where the environment says so, and the folder from which the study was started."""
    if os.environ.get("OMP_NUM_THREADS", "").isdigit():
        import torch

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    if Path(folder).is_dir() and Path(folder) != Path.cwd():
        os.chdir(folder)


def sound(place: Place, name: str) -> bool:
    """Whether a run has a result that is not damaged.

    Raises:
        Outdated: when a newer version wrote it.
    """
    try:
        return finished(place.result(name).parent) is not None
    except Damaged:
        return False


def claimed(place: Place, task: Task) -> "Claim | dict[str, Any]":
    """The claim on the run, or who has it."""
    shelf = place.shelf(task.name)
    if task.silent and top(shelf)[0] == task.silent:
        SEEN.seen[shelf.name] = (task.silent, float("-inf"))
    return try_claim(shelf, SEEN, task.lease)


def attempted(place: Place, task: Task, claim: Claim) -> dict[str, Any]:
    """One attempt, with its record."""
    try:
        if sound(place, task.name):
            return {"state": "done", "note": ""}
        if place.holds(task.name, "result.json") and place.name != str(place.folder.absolute()):
            place.set_aside(task.name)
        with place.workshop(task.name, claim) as folder:
            return recorded(place, task, claim, folder)
    except RunConflict as error:
        if not claim.lost:
            raise
        return {"state": "held", "note": str(error)}
    finally:
        claim.release()


def recorded(place: Place, task: Task, claim: Claim, folder: Path) -> dict[str, Any]:
    """The attempt itself; how it ends is written down while the claim is held."""
    start = step_of(folder)
    attempt = Attempt.of(claim, start, task.engine)
    tried = fruitless(place.folder / task.name, start)
    attempt.write(place, task.name)
    outcome = "interrupted"
    place.remove(task.name, "failed.json")
    try:
        if tried >= TRIES:
            raise WorkFailed(f"its worker died {tried} times without getting beyond step {start}")
        outcome = "published" if train(task, claim, folder, finisher(place, task, claim, folder)) else "already there"
        return {"state": "done", "note": ""}
    except KeyboardInterrupt:
        return {"state": "interrupted", "note": "interrupted; run again to resume"}
    except Exception as error:
        outcome = "lost" if claim.lost else "failed"
        words = str(error) if isinstance(error, UncollapseError) else f"{type(error).__name__}: {error}"
        if outcome == "failed":
            with suppress(OSError, WorkFailed):
                place.write(task.name, "failed.json", json_text({"error": words}))
        raise error if isinstance(error, UncollapseError) else WorkFailed(words) from error
    finally:
        attempt.end(place, task.name, outcome)


def finisher(place: Place, task: Task, claim: Claim, folder: Path) -> Callable[[str], bool]:
    """What publishes the result of the run."""
    return lambda text: place.finish(task.name, claim, folder, text)


def train(task: Task, claim: Claim, folder: Path, publish: Callable[[str], bool]) -> bool:
    """Do the run; whether the result that is there now was made here."""
    from uncollapse.study.build import load_data
    from uncollapse.study.work import execute

    data = load_data(task.run, task.data_dir)
    if task.fingerprint and data.fingerprint != task.fingerprint:
        raise WorkFailed(
            f"the data {task.run.data_name} on this machine are not those of the study: their fingerprint is "
            f"{data.fingerprint}, not {task.fingerprint}"
        )
    made: list[bool] = []

    def ours(step: int, total: int, record: dict[str, Any]) -> None:
        if claim.lost:
            claim.check()

    def make(text: str) -> bool:
        made.append(publish(text))
        return made[0]

    execute(task.run, folder, task.data_dir, ours, make, data)
    return made == [True]


def step_of(folder: Path) -> int:
    """The step of the last checkpoint."""
    try:
        found = read_json(folder / "state.json").get("step", 0)
        return int(found)
    except (WorkFailed, AttributeError, TypeError, ValueError):
        return 0
