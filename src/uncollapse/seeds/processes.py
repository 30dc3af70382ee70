"""One process a seed, with one thread each."""

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from uncollapse import errors
from uncollapse.data import DataSet
from uncollapse.drafts import scratch, sweep
from uncollapse.errors import WorkFailed
from uncollapse.fabric import interruptible
from uncollapse.fit import Fit
from uncollapse.launching import QUIET
from uncollapse.seeds.choice import packed

__all__ = ["cores", "train_apart"]

ROOM = ".uncollapse-seeds."  #: how the folders begin in which processes hand each other what they need


def train_apart(
    models: Sequence[Any],
    objectives: Sequence[Any],
    data: DataSet,
    runs: Sequence[dict[str, Any]],
    report: Callable[[Fit], None],
) -> list[Fit]:
    """Train every model in a process of its own, as many at a time as there are cores.

    A process is started for each run and not kept: it reads models and data from files, so that the script that is
    running need not be imported again. Weights and states come back into the models and objectives given.

    Arguments:
        models, objectives: one a seed.
        data: what they are trained on.
        runs: the keywords of `fit` of each.
        report: told about every run that has ended.

    Raises:
        BadInput: when something cannot be sent to another process.
        WorkFailed: when a process dies.
    """
    jobs = [packed(*parts) for parts in zip(models, objectives, runs, strict=True)]
    pool = ThreadPoolExecutor(min(len(jobs), cores()))
    with workroom() as room, pool, interruptible() as interrupted:
        shared, children = room / "data", Children()
        leave(shared, pickle.dumps(data, protocol=5))
        work = [
            pool.submit(children.run, job, shared, f"seed {run['seed']}") for job, run in zip(jobs, runs, strict=True)
        ]
        try:
            while left := [one for one in work if not one.done()]:
                wait(left, timeout=0.2, return_when=FIRST_EXCEPTION)
                if interrupted():
                    raise KeyboardInterrupt("stopped all seeds; with a folder, run again to resume")
                for one in work:
                    if one.done():
                        one.result()
        except BaseException:
            children.stop()
            raise
        answers = [one.result() for one in work]
    done = []
    for model, objective, answer in zip(models, objectives, answers, strict=True):
        model.load_state_dict(answer.pop("model"))
        objective.load_state_dict(answer.pop("objective"))
        done.append(Fit(model, objective, **answer))
        report(done[-1])
    return done


@contextmanager
def workroom() -> Iterator[Path]:
    """A folder for what processes hand each other; those of processes that were killed are removed first."""
    parent = Path(tempfile.gettempdir())
    sweep(parent, ROOM)
    with ExitStack() as stack:
        try:
            room = stack.enter_context(scratch(parent, ROOM))
        except OSError as error:
            words = f"cannot work in {parent}: {error.strerror or error}; set TMPDIR to a better folder"
            raise WorkFailed(words) from error
        yield room


def leave(path: Path, content: bytes) -> None:
    """Write a file for another process.

    Raises:
        WorkFailed: when the disk does not take it.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        raise WorkFailed(
            f"cannot hand {len(content) / 1e6:,.1f} MB to another process in {path.parent}: {error.strerror or error}; "
            "free some space, or set TMPDIR to a larger folder"
        ) from error


class Children:
    """The processes that run now."""

    def __init__(self) -> None:
        self.running: list[subprocess.Popen[str]] = []
        self.stopped = False

    def run(self, job: bytes, shared: Path, name: str) -> dict[str, Any]:
        """Do one job and return what its process left."""
        mine, answer = shared.with_name(f"{name}.job"), shared.with_name(f"{name}.answer")
        leave(mine, job)
        if self.stopped:
            raise WorkFailed(f"{name} was not started, because another one failed")
        path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-m", "uncollapse.seeds.worker", str(mine), str(shared), str(answer)]
        child = subprocess.Popen(
            command, env={**os.environ, **QUIET, **path}, stderr=subprocess.PIPE, text=True, start_new_session=True
        )  # of its own, so that Ctrl-C comes from `stop` alone: a second one would not wait for a checkpoint
        self.running.append(child)
        _, said = child.communicate()
        if not answer.exists():
            last = (said.strip().splitlines() or ["no message"])[-1]
            raise WorkFailed(f"the process of {name} ended with code {child.returncode}: {last}")
        found: dict[str, Any] = pickle.loads(answer.read_bytes())
        if "error" in found:
            kind = getattr(errors, found["kind"], WorkFailed)
            raise kind(f"{name}: {found['error']}")
        return found

    def stop(self) -> None:
        """Ask all processes to end; a run with a folder leaves a checkpoint."""
        self.stopped = True
        for child in self.running:
            if child.poll() is None:
                child.terminate()


def cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1
