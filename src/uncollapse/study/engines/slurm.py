"""SLURM by way of submitit: runs as job arrays that are requeued when they are pre-empted."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from uncollapse.errors import BadInput
from uncollapse.study.engines.base import Resources, missing

__all__ = ["SlurmEngine"]

GATHER = 0.5  #: seconds without a further run after which those at hand are submitted as one array
POLL = {"slurm": 15.0}  #: seconds between two questions after jobs; 0.5 for what is not SLURM
REQUEUES = 1000  #: a run goes on where it was, so it may be requeued as often as it takes
DEAD = ("FAILED", "NODE_FAIL", "TIMEOUT", "OUT_OF_MEMORY", "CANCELLED", "PREEMPTED", "BOOT_FAIL")


class Again:
    """Work that submitit submits anew when its job is pre-empted or out of time: the run itself knows where it was."""

    def __init__(self, work: Callable[..., Any]) -> None:
        self.work = work

    def __call__(self, *arguments: Any) -> Any:
        """Do the work."""
        return self.work(*arguments)

    def checkpoint(self, *arguments: Any) -> Any:
        """What to submit in place of a job that was stopped."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, *arguments)


class SlurmEngine:
    """Job arrays.

    Arguments:
        folder: for submitit's scripts and outputs; every node must see it.
        workers: the most jobs of an array that run at the same time.
        cluster: "slurm", or submitit's "local" or "debug".
        needs: of one run; names that begin with slurm_ go to submitit as they are.

    Raises:
        BadInput: when submitit is not installed, or there is no SLURM here.
    """

    name = "slurm"
    deaf = True  #: without accounting (sacct) SLURM does not say that a job died

    def __init__(self, folder: Path, workers: int, cluster: str, needs: Resources) -> None:
        try:
            import submitit
        except ImportError as error:
            raise missing("slurm", "submitit") from error
        self.submitit, self.folder = submitit, folder.absolute()
        try:
            self.executor = submitit.AutoExecutor(
                folder=str(self.folder), cluster=cluster, slurm_max_num_timeout=REQUEUES
            )
            self.executor.update_parameters(**parameters(needs, workers))
        except (RuntimeError, ValueError, TypeError, NameError) as error:
            raise BadInput(f"cannot submit to {cluster}: {error}") from error
        self.poll = POLL.get(cluster, 0.5)
        self.lock = threading.Lock()
        self.waiting: list[tuple[Future[Any], Again, tuple[Any, ...]]] = []
        self.jobs: dict[Future[Any], Any] = {}
        self.added, self.over = time.monotonic(), threading.Event()
        self.thread = threading.Thread(target=self.follow, name="uncollapse-slurm", daemon=True)
        self.thread.start()

    def submit(self, work: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Add `work(*arguments)` to the next array."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        with self.lock:
            self.waiting.append((future, Again(work), arguments))
            self.added = time.monotonic()
        return future

    def follow(self) -> None:
        """Submit what has gathered, and ask after what was submitted."""
        asked = 0.0
        while not self.over.wait(0.2):
            with self.lock:
                ready = self.waiting if time.monotonic() - self.added > GATHER else []
                if ready:
                    self.waiting = []
            if ready:
                self.send(ready)
            if time.monotonic() - asked > self.poll:
                asked = time.monotonic()
                self.ask()

    def send(self, ready: list[tuple["Future[Any]", Again, tuple[Any, ...]]]) -> None:
        """Submit an array."""
        try:
            with self.executor.batch():
                jobs = [self.executor.submit(work, *arguments) for _, work, arguments in ready]
        except Exception as error:  # sbatch refuses in many ways; the study has to hear of it
            for future, _, _ in ready:
                future.set_exception(error)
            return
        self.jobs.update(zip((future for future, _, _ in ready), jobs, strict=True))

    def ask(self) -> None:
        """Take in the jobs that are over."""
        for future, job in list(self.jobs.items()):
            if job.done():
                del self.jobs[future]
                error = job.exception()
                if error is None:
                    future.set_result(job.result())
                else:
                    future.set_exception(error)

    def died(self, error: BaseException) -> bool:
        """Whether a job ended without an answer."""
        return isinstance(error, self.submitit.core.utils.UncompletedJobError)

    def close(self, at_once: bool = False) -> None:
        """Cancel what is left: jobs whose runs others have done, or all of them when we are stopped."""
        self.over.set()
        self.thread.join()
        for job in self.jobs.values():
            job.cancel(check=False)


def parameters(needs: Resources, workers: int) -> dict[str, Any]:
    """What submitit is told; the cap on jobs at the same time is SLURM's own, `--array=...%workers`."""
    found: dict[str, Any] = {
        "name": "uncollapse", "cpus_per_task": needs.cpus, "timeout_min": needs.minutes or 24 * 60,
        "slurm_array_parallelism": workers,
    }  # fmt: skip
    if needs.gpus:
        if needs.gpus != int(needs.gpus):
            raise BadInput(f"SLURM gives out whole accelerators, got gpus={needs.gpus}")
        found["gpus_per_node"] = int(needs.gpus)
    if needs.memory:
        found["mem_gb"] = needs.memory / 1e9
    return {**found, **{name: int(value) if value.isdigit() else value for name, value in needs.more.items()}}
