"""What a study asks of an engine, and what a run asks of a machine."""

import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from uncollapse.errors import BadInput

__all__ = ["Engine", "Resources", "closing", "missing", "quiet"]

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
PLAIN = ("cpus", "gpus", "memory", "minutes")


class Engine(Protocol):
    """What a study asks of an engine.

    Attributes:
        name: for the record.
    """

    name: str

    def submit(self, work: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Start `work(*arguments)` when a worker is free."""
        ...

    def died(self, error: BaseException) -> bool:
        """Whether an error means that the worker was lost, and not that the work failed."""
        ...

    def close(self, at_once: bool = False) -> None:
        """Let go of the workers, after their work or at once."""
        ...


@dataclass(frozen=True)
class Resources:
    """What one run needs.

    Attributes:
        cpus: cores, which are also the threads of torch; results depend on it in the last bits.
        gpus: accelerators; half a one where two runs share it.
        memory: bytes; None leaves it to the engine.
        minutes: the longest that a job may take, for SLURM.
        more: whatever else the engine takes by name, such as slurm_partition.
    """

    cpus: int = 1
    gpus: float = 0
    memory: int | None = None
    minutes: int | None = None
    more: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str) -> "Resources":
        """Read `cpus=4,gpus=0.5,memory=16GB`.

        Raises:
            BadInput: for what is no such list.

        Example:
            >>> Resources.of("cpus=4,gpus=0.5,memory=16GB,slurm_partition=long")
            Resources(cpus=4, gpus=0.5, memory=16000000000, minutes=None, more={'slurm_partition': 'long'})
        """
        words = [word.strip().partition("=") for word in text.split(",") if word.strip()]
        found = {name.strip(): value.strip() for name, _, value in words}
        more = {name: value for name, value in found.items() if name.startswith("slurm_")}
        odd = [name for name, sign, value in words if not sign or not value or name not in {*PLAIN, *more}]
        if odd or len(found) < len(words):
            raise BadInput(
                f"--resources looks like cpus=4,gpus=1,memory=16GB, minutes=90 or slurm_NAME=..., got {text!r}"
            )
        read: dict[str, Callable[[str], Any]] = {"cpus": int, "gpus": float, "memory": size, "minutes": int}
        try:
            plain = {name: read[name](found[name]) for name in PLAIN if name in found}
        except ValueError as error:
            raise BadInput(f"--resources {text!r} holds a value that is no number: {error}") from error
        if plain.get("cpus", 1) < 1 or plain.get("gpus", 0) < 0:
            raise BadInput(f"a run needs at least one core and no negative number of accelerators, got {text!r}")
        return cls(**plain, more=more)


def size(text: str) -> int:
    """Bytes.

    Example:
        >>> size("1.5GB"), size("2GiB")
        (1500000000, 2147483648)
    """
    found = re.fullmatch(r"([\d.]+)\s*([A-Za-z]*)", text)
    if found is None or found[2].upper() not in UNITS:
        raise ValueError(text)
    return round(float(found[1]) * UNITS[found[2].upper()])


def missing(engine: str, package: str) -> BadInput:
    """The sentence for an engine whose library is not there."""
    return BadInput(f"the engine {engine} needs {package}, which is not installed: pip install 'uncollapse[{engine}]'")


@contextmanager
def closing(engine: Engine) -> Iterator[Engine]:
    """Close an engine in the end; leaving by an error stops its workers at once."""
    try:
        yield engine
        engine.close()
    except BaseException:
        engine.close(at_once=True)
        raise


def threads(count: int) -> dict[str, str]:
    """Environment of a worker that computes with so many threads.

    More threads than cores cost twenty times the time of a step, so workers get their number before torch loads.
    """
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {**dict.fromkeys(names, str(count)), "OMP_WAIT_POLICY": "PASSIVE"}


@contextmanager
def quiet(count: int) -> Iterator[None]:
    """The environment of workers, which processes inherit that are started in the block."""
    wanted = threads(count)
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
