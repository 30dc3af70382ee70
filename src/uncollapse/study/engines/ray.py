"""Ray: every run a retried task with resources of its own, on this machine or on a cluster."""

import os
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from uncollapse.errors import BadInput
from uncollapse.study.engines.base import Resources, missing, threads

__all__ = ["RayEngine"]

RETRIES = 3  #: times that Ray itself starts a run again when a worker or a node dies under it


class RayEngine:
    """Tasks of a Ray cluster.

    Arguments:
        workers: cores of the cluster that is started when there is no address.
        address: such as auto, HOST:6379 or ray://HOST:10001; $RAY_ADDRESS if None.
        needs: of one run.

    Raises:
        BadInput: when Ray is not installed or the cluster does not answer.
    """

    name = "ray"

    def __init__(self, workers: int, address: str | None, needs: Resources) -> None:
        try:
            import ray
        except ImportError as error:
            raise missing("ray", "ray") from error
        self.ray = ray
        address = address or os.environ.get("RAY_ADDRESS")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        where: dict[str, Any] = {"address": address} if address else {
            "num_cpus": workers * needs.cpus, "include_dashboard": False
        }  # fmt: skip
        try:
            ray.init(**where, log_to_driver=False, logging_level="ERROR", ignore_reinit_error=True)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            raise BadInput(f"no Ray cluster answers at {address or 'this machine'}: {error}") from error
        self.options: dict[str, Any] = {
            "num_cpus": needs.cpus, "num_gpus": needs.gpus, "max_retries": RETRIES,
            "runtime_env": {"env_vars": threads(needs.cpus)},
        }  # fmt: skip
        if needs.memory:
            self.options["memory"] = needs.memory

    def submit(self, work: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Start `work(*arguments)` when the cluster has room."""
        future: Future[Any] = self.ray.remote(work).options(**self.options).remote(*arguments).future()
        return future

    def died(self, error: BaseException) -> bool:
        """Whether a worker, a node or the connection was lost."""
        kinds = self.ray.exceptions
        return isinstance(error, kinds.RayError) and not isinstance(error, kinds.RayTaskError)

    def close(self, at_once: bool = False) -> None:
        """Leave the cluster; tasks that still run are ended."""
        self.ray.shutdown()
