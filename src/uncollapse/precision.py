"""Which device, which precision and which memory layout a run takes."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from uncollapse.codes import evaluation
from uncollapse.data import DataSet
from uncollapse.draw import draw
from uncollapse.errors import BadInput
from uncollapse.plan import Settings

__all__ = ["accelerator_of", "choose_layout", "choose_precision", "flops", "lay_out"]

SMALL_STEP = 2e8  #: FLOPs of a forward pass below which the casts to bf16 cost more than the products save


def accelerator_of(device: str) -> tuple[str, Any]:
    """The engine's words for a device name."""
    kind, _, number = device.partition(":")
    if kind not in {"auto", "cpu", "cuda", "mps"} or (number and not number.isdigit()):
        raise BadInput(f"device should be auto, cpu, cuda, cuda:N or mps, got {device!r}")
    there: dict[str, Callable[[], bool]] = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if kind in there and not there[kind]():
        raise BadInput(f"device {device!r} is not available on this machine; use device='auto' or 'cpu'")
    return kind, [int(number)] if number else 1


def choose_precision(model: nn.Module, data: DataSet, plan: Settings) -> str:
    """Resolve "auto": bf16 where a matrix product is faster in it and a training step is large enough to gain."""
    if plan.precision != "auto":
        return plan.precision
    kind = accelerator_of(plan.device)[0]
    if kind in {"cuda", "auto"} and torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "32"
    if kind == "mps" or flops(model, data, plan) < SMALL_STEP:
        return "32"
    return "bf16" if bf16_is_faster() else "32"


def flops(model: nn.Module, data: DataSet, plan: Settings) -> float:
    """Floating point operations of one forward pass of a batch."""
    from torch.utils.flop_counter import FlopCounterMode

    device = next(model.parameters()).device
    with FlopCounterMode(display=False) as counter, torch.no_grad(), torch.random.fork_rng():
        draw(model, data.train.take(torch.arange(plan.batch_size), device)).log_px  # type: ignore[arg-type]  # noqa: B018
    return float(counter.get_total_flops())


def bf16_is_faster() -> bool:
    """Whether this processor multiplies bf16 matrices at least 1.3 times as fast as fp32 ones."""
    times = {}
    for kind in (torch.float32, torch.bfloat16):
        a = torch.ones(256, 512, dtype=kind)
        b = torch.ones(512, 512, dtype=kind)
        runs = []
        for _ in range(7):
            start = time.perf_counter()
            a @ b
            runs.append(time.perf_counter() - start)
        times[kind] = min(runs)
    return times[torch.float32] > 1.3 * times[torch.bfloat16]


def choose_layout(model: nn.Module, data: DataSet, plan: Settings, precision: str) -> str:
    """The layout of images: "channels last" where the precision is "auto" and that is faster here, else "plain"."""
    if plan.precision != "auto" or not convolutions(model):
        return "plain"
    device = next(model.parameters()).device
    if accelerator_of(plan.device)[0] in {"cuda", "auto"} and torch.cuda.is_available():
        return "channels last" if precision == "bf16" else "plain"  # what tensor cores want
    x = data.train.take(torch.arange(min(plan.batch_size, PROBED)), device)
    seconds = {}
    for layout in ("plain", "channels last"):
        lay_out(model, layout)
        seconds[layout] = min(seconds_of_pass(model, x, precision) for _ in range(TRIES))
    lay_out(model, "plain")
    return "channels last" if seconds["channels last"] < CLEAR * seconds["plain"] else "plain"


PROBED = 64  #: examples of a pass, at most
TRIES = 3  #: passes of each layout, of which the quickest counts
CLEAR = 0.95  #: share of the time below which another layout is taken


def seconds_of_pass(model: nn.Module, x: Tensor, precision: str) -> float:
    """Seconds of one forward and backward pass in evaluation mode; nothing of it stays."""
    with evaluation(model, 0), torch.enable_grad(), torch.autocast("cpu", torch.bfloat16, precision == "bf16"):
        start = time.perf_counter()
        loss = draw(model, x).elbo.sum()  # type: ignore[arg-type]
        torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad], allow_unused=True)
        return time.perf_counter() - start


def convolutions(model: nn.Module) -> list[nn.Conv2d | nn.ConvTranspose2d]:
    """The two-dimensional convolutions of a model."""
    return [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]


def lay_out(model: nn.Module, layout: str) -> None:
    """Put the kernels of convolutions in a layout, "plain" or "channels last"; images follow their kernels."""
    form = torch.channels_last if layout == "channels last" else torch.contiguous_format
    for module in convolutions(model):
        module.weight.data = module.weight.data.contiguous(memory_format=form)
