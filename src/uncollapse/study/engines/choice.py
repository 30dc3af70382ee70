"""An engine by its name."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from uncollapse.errors import BadInput
from uncollapse.study.engines.base import Engine, Resources, closing, quiet
from uncollapse.study.engines.local import LocalEngine

__all__ = ["ENGINES", "open_engine"]

ENGINES = ("local", "ray", "dask", "slurm")


@contextmanager
def open_engine(
    name: str,
    workers: int,
    address: str | None = None,
    resources: Resources | None = None,
    folder: Path | None = None,
) -> Iterator[Engine]:
    """An engine; leaving by an error stops its workers at once.

    Arguments:
        name: one of `ENGINES`.
        workers: processes of this machine, or the most jobs of an array that run at the same time.
        address: of a running cluster; None starts one on this machine.
        resources: of one run.
        folder: where SLURM's scripts and outputs go.

    Raises:
        BadInput: when there is no such engine, its library is not installed, or it does not take these options.
    """
    needs = resources or Resources()
    with quiet(needs.cpus), closing(made(name, workers, address, needs, folder or Path("slurm"))) as engine:
        yield engine


def made(name: str, workers: int, address: str | None, needs: Resources, folder: Path) -> Engine:
    """The engine itself; libraries are loaded only now."""
    if name not in ENGINES:
        raise BadInput(f"there is no engine {name!r}; there are {', '.join(ENGINES)}, and `uncollapse study work`")
    if name == "slurm":
        from uncollapse.study.engines.slurm import SlurmEngine

        return SlurmEngine(folder, workers, address or "slurm", needs)
    if needs.more or needs.minutes:
        raise BadInput(f"minutes and slurm_... are for the engine slurm, not for {name}")
    if name == "ray":
        from uncollapse.study.engines.ray import RayEngine

        return RayEngine(workers, address, needs)
    if name == "dask":
        from uncollapse.study.engines.dask import DaskEngine

        return DaskEngine(workers, address, needs)
    if address or needs.gpus or needs.memory:
        raise BadInput("the engine local takes no address and shares out cores only; ray shares out accelerators too")
    return LocalEngine(workers)
