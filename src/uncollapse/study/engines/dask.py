"""Dask: runs as tasks of a scheduler, on this machine or on a cluster."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from uncollapse.errors import BadInput
from uncollapse.study.engines.base import Resources, missing

__all__ = ["DaskEngine"]

TIMEOUT = 30  #: seconds for a scheduler to answer
RETRIES = 3  #: times that Dask itself starts a run again


class DaskEngine:
    """Tasks of a Dask scheduler.

    A worker does one run at a time, whatever its number of threads: torch has one random state a process.

    Arguments:
        workers: processes that are started when there is no address.
        address: of a scheduler, such as tcp://HOST:8786.
        needs: of one run; accelerators are the workers' resource GPU (`dask worker --resources GPU=1`).

    Raises:
        BadInput: when Dask is not installed or the scheduler does not answer.
    """

    name = "dask"

    def __init__(self, workers: int, address: str | None, needs: Resources) -> None:
        try:
            import distributed
        except ImportError as error:
            raise missing("dask", "distributed") from error
        self.distributed, self.cluster = distributed, None
        self.resources = {"GPU": needs.gpus} if needs.gpus else None
        try:
            if address is None:
                self.cluster = distributed.LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
            self.client = distributed.Client(address or self.cluster, timeout=TIMEOUT)
        except OSError as error:
            raise BadInput(f"no Dask scheduler answers at {address}: {error}") from error
        self.executor = self.client.get_executor(retries=RETRIES, pure=False, resources=self.resources)

    def submit(self, work: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Start `work(*arguments)` when a worker is free."""
        future: Future[Any] = self.executor.submit(work, *arguments)
        return future

    def died(self, error: BaseException) -> bool:
        """Whether workers were lost."""
        kinds = (self.distributed.scheduler.KilledWorker, self.distributed.comm.CommClosedError)
        return isinstance(error, kinds)

    def close(self, at_once: bool = False) -> None:
        """Leave the scheduler, and end it if it is ours."""
        self.executor.shutdown(wait=not at_once)
        self.client.close()
        if self.cluster is not None:
            self.cluster.close()
