"""Where runs are executed: one `submit` of the shape of `concurrent.futures`, so that clusters can plug in."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Protocol

__all__ = ["Engine", "LocalEngine", "local_engine"]


class Engine(Protocol):
    """What a study asks of an engine."""

    workers: int

    def submit(self, work: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Start `work(*arguments)` when a worker is free."""
        ...

    def died(self, error: BaseException) -> bool:
        """Whether an error means that the worker was lost, and not that the work failed."""
        ...


class LocalEngine:
    """Processes on this machine, one thread each; a worker that is killed is replaced and breaks nothing else."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    @cached_property
    def pool(self) -> Any:
        """The processes, which are started when the first work is submitted."""
        from pebble import ProcessPool

        return ProcessPool(max_workers=self.workers, context=multiprocessing.get_context("spawn"))

    def close(self, at_once: bool = False) -> None:
        """End the processes, if there are any, after their work or at once."""
        if "pool" in vars(self):
            (self.pool.stop if at_once else self.pool.close)()
            self.pool.join()

    def submit(self, work: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Start `work(*arguments)` when a worker is free."""
        future: Future[Any] = self.pool.schedule(work, args=list(arguments))
        return future

    def died(self, error: BaseException) -> bool:
        """Whether the worker was lost."""
        from pebble import ProcessExpired

        return isinstance(error, ProcessExpired)


@contextmanager
def local_engine(workers: int) -> Iterator[LocalEngine]:
    """A local engine whose workers run one thread each; leaving by an error stops them at once.

    More threads than cores cost twenty times the time of a step, so workers get one each, set before torch loads.
    """
    quiet = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    before = {name: os.environ.get(name) for name in quiet}
    os.environ.update(quiet)
    engine = LocalEngine(workers)
    try:
        yield engine
        engine.close()
    except BaseException:
        engine.close(at_once=True)
        raise
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
