"""Processes on this machine."""

import multiprocessing
import queue
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from uncollapse.study.engines.base import Engine, closing, quiet

__all__ = ["LocalEngine", "local_engine"]

RUNS = 20  #: runs of one process, after which a fresh one bounds whatever may have grown


class LocalEngine:
    """Processes on this machine; one that is killed is replaced and breaks nothing else.

    Every process is a pool of its own: a pool of several gives all of them up when a process dies before it has said
    that it began. A process does one run after another, because a fresh one takes seconds to import torch.

    Arguments:
        workers: how many.
    """

    name = "local"

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.pools: list[Any] = []

    @cached_property
    def threads(self) -> ThreadPoolExecutor:
        """One thread for each process, from when the first work is submitted."""
        for _ in range(self.workers):
            self.idle.put(None)
        return ThreadPoolExecutor(self.workers, "uncollapse-local")

    def fresh(self) -> Any:
        """A process that is started when it gets work."""
        from pebble import ProcessPool

        pool = ProcessPool(max_workers=1, max_tasks=RUNS, context=multiprocessing.get_context("spawn"))
        self.pools.append(pool)
        return pool

    def submit(self, work: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Start `work(*arguments)` when a worker is free."""
        return self.threads.submit(self.one, work, arguments)

    def one(self, work: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """Let a process that is idle, or a new one, do the work."""
        pool = self.idle.get()
        try:
            if pool is None or not pool.active:
                self.drop(pool)
                pool = self.fresh()
            return pool.schedule(work, args=list(arguments)).result()
        except BaseException as error:
            if self.died(error):
                self.drop(pool)
                pool = None
            raise
        finally:
            self.idle.put(pool)

    def drop(self, pool: Any) -> None:
        """End a process whose pool is broken."""
        if pool is not None:
            pool.stop()
            pool.join()
            self.pools.remove(pool)

    def died(self, error: BaseException) -> bool:
        """Whether the worker was lost."""
        from pebble import ProcessExpired

        return isinstance(error, ProcessExpired | BrokenProcessPool)

    def close(self, at_once: bool = False) -> None:
        """End the processes, if there are any, after their work or at once."""
        if "threads" not in vars(self):
            return
        if at_once:
            self.threads.shutdown(wait=False, cancel_futures=True)
            for pool in self.pools:
                pool.stop()
        self.threads.shutdown()
        for pool in self.pools:
            pool.close()
            pool.join()


@contextmanager
def local_engine(workers: int) -> Iterator[Engine]:
    """A local engine whose workers run one thread each; leaving by an error stops them at once."""
    with quiet(1), closing(LocalEngine(workers)) as engine:
        yield engine
