"""Who trains here, alone or with others: the only file that imports the training engine (Lightning Fabric)."""

import atexit
import gc
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import torch.distributed as dist

from uncollapse.errors import BadInput
from uncollapse.plan import Settings
from uncollapse.precision import accelerator_of
from uncollapse.processes import Group
from uncollapse.team import Team

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["fabric_of", "join", "started"]


def started() -> int:
    """How many processes `torchrun` started with this one; 1 without it."""
    there = all(name in os.environ for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR"))
    return int(os.environ["WORLD_SIZE"]) if there else 1


def join(plan: Settings) -> Team:
    """Meet the other processes that `torchrun` started, if this run is to have any.

    Raises:
        BadInput: when it started another number of them than `devices`.
    """
    there = started()
    if plan.devices == 1 or there == 1:
        return Team()
    if plan.devices not in (None, there):
        raise BadInput(f"torchrun started {there} processes, but devices={plan.devices}; leave devices out")
    if plan.batch_size < there:
        raise BadInput(f"a batch of {plan.batch_size} has no row for each of {there} processes; raise batch_size")
    theirs = dist.is_initialized()
    fabric = fabric_of(plan, there, "32")
    if not theirs:
        atexit.register(leave)
    return Team(Group(fabric.global_rank, fabric.world_size))


def leave() -> None:
    """End the exchange between processes: one that just exits may abort while its threads still listen."""
    gc.collect()  # weights in pieces hold on to the exchange, in circles
    if dist.is_initialized():
        dist.destroy_process_group()


def fabric_of(plan: Settings, processes: int, precision: str) -> "Fabric":
    """The engine for a device, a precision, and processes that are there already."""
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    accelerator, devices = accelerator_of(plan.device)
    kind: Literal["bf16-mixed", "32-true"] = "bf16-mixed" if precision == "bf16" else "32-true"
    with warnings_only("lightning_fabric"):
        if processes == 1:
            alone = LightningEnvironment()  # named, or a machine with SLURM would be asked, and warned about
            return Fabric(accelerator=accelerator, devices=devices, precision=kind, plugins=[alone])
        local = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
        fabric = Fabric(
            accelerator=accelerator,
            devices=local,
            num_nodes=processes // local,
            precision=kind,
            strategy="ddp",  # what shares rows and weights is our own
            plugins=[TorchElasticEnvironment()],
        )
        fabric.launch()
        return fabric


@contextmanager
def warnings_only(logger: str) -> Iterator[None]:
    """Keep a library from announcing what it does; its warnings still pass."""
    log = logging.getLogger(logger)
    before = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(before)
