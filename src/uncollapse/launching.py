"""Starting several processes for one run, where `torchrun` has not done so."""

import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uncollapse import errors
from uncollapse.claim import held
from uncollapse.errors import BadInput, WorkFailed
from uncollapse.fabric import interruptible

__all__ = ["QUIET", "Asked", "launched", "packed"]

#: what keeps processes on one machine out of each other's way
QUIET = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}

Progress = Callable[[int, int, dict[str, Any]], None]


@dataclass(frozen=True)
class Asked:
    """What the processes are told, beside what they train.

    Attributes:
        answer: where the first one leaves what it made.
        parent: the process that wants it; without it they stop.
        told: where the first one says how far it is, if somebody asks.
        inherited: the folder that the parent has claimed, or None.
    """

    answer: Path
    parent: int
    told: Path | None
    inherited: str | None


def packed(user: str, instead: str, *things: Any) -> bytes:
    """Objects as bytes that another process can read.

    Arguments:
        user: the argument that asks for it.
        instead: what else could be done.
        things: what to pack.

    Raises:
        BadInput: when they cannot be, or when they live in the script that is running.
    """
    import pickletools

    words = f"{user} sends the model, the objective and watch to other processes"
    advice = f"define their classes and functions at the top level of a module, or {instead}"
    try:
        data = pickle.dumps(things)
    except Exception as error:
        raise BadInput(f"{words}, and pickle says: {error}; {advice}") from error
    if any(isinstance(value, str) and value.split(" ")[0] == "__main__" for _, value, _ in pickletools.genops(data)):
        raise BadInput(f"{words}, which cannot see what the running script defines; {advice}")
    return data


def launched(
    model: Any, objective: Any, data: Any, run: dict[str, Any], progress: bool | Progress = False
) -> dict[str, Any]:
    """Train in as many processes as `run["devices"]` says; weights and states come back into model and objective.

    The processes are started by `torchrun`'s own launcher. They read a file that only this user can read, so the
    script that is running need not be imported again.

    Arguments:
        model, objective, data, run: what `fit` was given.
        progress: True lets the first process show a bar; a function is called here.

    Returns:
        The fields of a `Fit`.

    Raises:
        BadInput: when something cannot be sent to another process.
        WorkFailed: when a process dies; the others are stopped.
    """
    listens = callable(progress)
    run = {**run, "progress": bool(progress) and not listens}
    with tempfile.TemporaryDirectory() as room, interruptible() as interrupted:
        folder = str(run["folder"]) if held(run.get("folder")) else None
        asked = Asked(Path(room, "answer"), os.getpid(), Path(room, "told") if listens else None, folder)
        job = Path(room, "job")
        job.write_bytes(packed(f"devices={run['devices']}", "start the script with torchrun",
                               model, objective, data, run, asked))  # fmt: skip
        said = waited(started(job, run["devices"]), interrupted, progress, asked.told)
        if not asked.answer.exists():
            if interrupted():
                raise KeyboardInterrupt("stopped before the processes had begun; run again")
            words = f"one of {run['devices']} processes died: {reason(said)}"
            raise WorkFailed(f"{words}; with a folder, run again to resume")
        found: dict[str, Any] = pickle.loads(asked.answer.read_bytes())
    if "error" in found:
        raise getattr(errors, found["kind"], KeyboardInterrupt)(found["error"])
    model.load_state_dict(found.pop("model"))
    objective.load_state_dict(found.pop("objective"))
    return {"model": model, "objective": objective, **found}


def started(job: Path, devices: int) -> "subprocess.Popen[str]":
    """The launcher of all processes of a job, in a session of its own: Ctrl-C reaches them through us."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={devices}",
        "--log-dir", str(job.parent), "-m", "uncollapse.launched", str(job),
    ]  # fmt: skip
    path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        command, env={**os.environ, **QUIET, **path}, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def waited(
    child: "subprocess.Popen[str]", interrupted: Callable[[], bool], progress: bool | Progress, told: Path | None
) -> str:
    """What the processes said until they ended; asked to stop, they leave a checkpoint first."""
    stopping, last = False, ""
    while True:
        try:
            return child.communicate(timeout=0.2)[1] or ""
        except subprocess.TimeoutExpired:
            if interrupted() and not stopping:
                child.send_signal(signal.SIGTERM)
                stopping = True
            if told is not None and callable(progress):
                try:
                    last = passed_on(told, last, progress)
                except BaseException:
                    stop(child)
                    raise
        except BaseException:
            stop(child)
            raise


def passed_on(told: Path, last: str, progress: Progress) -> str:
    """Tell how far the run is, if it is further than at the last time."""
    text = told.read_text(encoding="utf-8") if told.exists() else ""
    if text and text != last:
        progress(*json.loads(text))
    return text


def stop(child: "subprocess.Popen[str]") -> None:
    """End the processes: with a checkpoint if they take a minute for it at most."""
    child.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        child.communicate(timeout=60)
    child.kill()


def reason(said: str) -> str:
    """The line that tells most of what went wrong."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if "Error" in line and "ChildFailedError" not in line]
    return (telling or lines or ["no message"])[-1][:300]
