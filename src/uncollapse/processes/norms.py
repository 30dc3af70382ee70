"""Batch normalisation with the statistics of the whole batch, whatever part of it a process passes."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from uncollapse.processes.exchange import total
from uncollapse.processes.group import Group

__all__ = ["whole_statistics"]


@contextmanager
def whole_statistics(group: Group, count: int, own: int) -> Iterator[None]:
    """While it holds, `F.batch_norm` in training mode normalises by mean and variance over all processes."""
    with WholeStatistics(group, count, own) if own != count else nullcontext():
        yield


class WholeStatistics(TorchFunctionMode):
    """Sees every function of torch that is called, and takes the place of one."""

    def __init__(self, group: Group, count: int, own: int) -> None:
        super().__init__()
        self.group, self.count, self.own = group, count, own

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function; batch normalisation in training mode by ours."""
        kwargs = kwargs or {}
        if func is not F.batch_norm:
            return func(*args, **kwargs)
        return self.normalised(*args, **kwargs)

    def normalised(
        self, x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
        bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
    ) -> Tensor:  # fmt: skip
        """As `F.batch_norm`, with the statistics of all rows."""
        if not training or len(x) % self.own:
            return F.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
        with torch.autocast(x.device.type, enabled=False):
            wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
            axes = [axis for axis in range(x.ndim) if axis != 1]
            shape = [-1 if axis == 1 else 1 for axis in range(x.ndim)]
            cases = self.count * (len(x) // self.own) * math.prod(x.shape[2:])
            mean = total(wide.sum(axes), self.group) / cases
            centred = wide - mean.view(shape)
            variance = total(centred.square().sum(axes), self.group) / cases
            out = centred * (variance + eps).rsqrt().view(shape)
            out = out if weight is None else out * weight.view(shape)
            out = out if bias is None else out + bias.view(shape)
            with torch.no_grad():
                for kept, now in ((running_mean, mean), (running_var, variance * (cases / max(cases - 1, 1)))):
                    if kept is not None:
                        kept.lerp_(now.to(kept.dtype), momentum)
            return out.to(x.dtype)
