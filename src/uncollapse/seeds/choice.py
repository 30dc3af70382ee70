"""Which way of training several seeds is the fastest here."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from uncollapse import launching
from uncollapse.data import DataSet
from uncollapse.errors import BadInput, Unsupported
from uncollapse.plan import Settings
from uncollapse.precision import accelerator_of, choose_precision, flops
from uncollapse.seeds.stack import check

__all__ = ["WAYS", "choose", "packed", "refusal"]

WAYS = ("auto", "stacked", "processes", "sequential")
SMALL = 5e8  #: FLOPs of a forward pass of one seed's batch up to which stacked products are faster than separate ones
SMALL_CONV = 1e8  #: the same for networks with convolutions, which gain less from their groups
RATE = 5e10  #: FLOP/s that a guess of a run's length is made with
LONG = 60.0  #: seconds of work from which the start of processes (some seconds each) is paid back


def choose(models: Sequence[Any], objectives: Sequence[Any], data: DataSet, plan: Settings) -> tuple[str, str]:
    """The way to train and why, in words."""
    if len(models) == 1:
        return "sequential", "there is one seed"
    if (plan.devices or 1) > 1:
        return "sequential", f"devices={plan.devices}: every batch is shared already"
    reason = refusal(models, objectives, data, plan)
    if accelerated(plan):
        return ("sequential", f"not stacked: {reason}") if reason else ("stacked", "an accelerator has room for all")
    work = flops(models[0], data, plan)
    size = f"a forward pass of one seed takes {work / 1e6:.1f} MFLOP"
    convolved = any(isinstance(part, nn.Conv2d | nn.ConvTranspose2d) for part in models[0].modules())
    if not reason and work <= (SMALL_CONV if convolved else SMALL):
        return "stacked", size
    why = f"not stacked: {reason}" if reason else size
    if torch.get_num_threads() < 2:
        return "sequential", f"{why}; torch may use one thread"
    if work_ahead(work, len(data.train), plan) * len(models) < LONG:
        return "sequential", f"{why}; too short for processes"
    try:
        for one in zip(models, objectives, strict=True):
            packed(*one)
    except BadInput:
        return "sequential", f"{why}; the model or the objective cannot be sent to processes"
    return "processes", why


def work_ahead(work: float, examples: int, plan: Settings) -> float:
    """A guess of the seconds that one run takes on one thread."""
    steps = plan.batches or (plan.epochs or 0) * examples / plan.batch_size
    return 3 * work * steps / RATE


def refusal(models: Sequence[Any], objectives: Sequence[Any], data: DataSet, plan: Settings) -> str:
    """Why these runs cannot be stacked, or nothing."""
    if (plan.devices or 1) > 1:
        return f"devices={plan.devices} shares every batch of one run"
    if plan.compile:
        return "a compiled step is one of a single run"
    if choose_precision(models[0], data, plan) != "32":
        return "only fp32 steps are equal to separate ones"
    try:
        devices = {p.device for one in models for p in one.parameters()}
        if len(devices) != 1:
            raise Unsupported("the models are on several devices")
        check(models, objectives, data.train.take(torch.arange(2), devices.pop()))
    except Unsupported as error:
        return str(error)
    return ""


def accelerated(plan: Settings) -> bool:
    """Whether training would run on an accelerator."""
    kind = accelerator_of(plan.device)[0]
    there = torch.cuda.is_available() or torch.backends.mps.is_available()
    return kind in {"cuda", "mps"} or (kind == "auto" and there)


def packed(*things: Any) -> bytes:
    """Objects as bytes that another process can read.

    Raises:
        BadInput: when they cannot be, or when they live in the script that is running.
    """
    return launching.packed('how="processes"', 'take how="sequential"', *things)
