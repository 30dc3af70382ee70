"""Noise that does not depend on the number of processes.

A network that draws random numbers for its own rows (dropout) draws them here for the whole batch, and keeps those of
its rows: every process draws the same stream, and one process alone would have drawn it too.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

__all__ = ["whole_noise"]

aten: Any = torch.ops.aten
SIZED = (aten.rand, aten.randn)  #: made from a size
STEADY = frozenset(
    (
        *(aten.bernoulli, aten.bernoulli_, aten.uniform, aten.uniform_, aten.normal, aten.normal_, aten.exponential),
        *(aten.exponential_, aten.cauchy, aten.cauchy_, aten.log_normal, aten.log_normal_, aten.geometric),
        *(aten.geometric_, aten.rand_like, aten.randn_like, aten.randint_like, aten.random, aten.random_),
        *(aten.native_dropout, aten._fused_dropout, aten.rrelu_with_noise, aten.rrelu_with_noise_),
    )
)  #: how much these draw depends on the size alone
QUIET = (nn.Linear, nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.ReLU, nn.Sequential, nn.Flatten)


@contextmanager
def whole_noise(own: int, count: int, start: int, networks: tuple[Any, ...]) -> Iterator[None]:
    """While it holds, random tensors with `own` rows are rows `start` and following of one with `count` rows."""
    drawing = any(loud(network) for network in networks)
    mode = WholeNoise(own, count, start) if drawing and own != count else None
    with mode or nullcontext():
        yield
    if mode is not None and mode.strange is not None:
        torch.manual_seed(mode.strange)  # processes may have drawn unlike amounts; from here on they agree again


def loud(network: Any) -> bool:
    """Whether somebody may draw random numbers: all but networks whose parts are known to be quiet."""
    if not isinstance(network, nn.Module):
        return True
    return any(
        not (isinstance(part, QUIET) and type(part).__module__.startswith("torch.")) for part in network.modules()
    )


def still(func: Any, args: Any, kwargs: Any) -> bool:
    """Whether an operation that may draw does not: attention without dropout."""
    names = [argument.name for argument in func._schema.arguments]
    if "dropout_p" not in names:
        return False
    place = names.index("dropout_p")
    return not (args[place] if place < len(args) else kwargs.get("dropout_p", 0.0))


class WholeNoise(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Draws for all rows and keeps own ones.

    Attributes:
        strange: a seed that all processes share, where something was drawn that has no rows or whose amount depends on
            values; None if nothing was.
    """

    def __init__(self, own: int, count: int, start: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.own, self.count, self.start = own, count, start
        self.strange: int | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation of torch; a random one for all rows."""
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags or still(func, args, kwargs):
            return func(*args, **kwargs)
        if func.overloadpacket in SIZED and len(args[0]) and args[0][0] == self.own:
            return self.rows(func([self.count, *args[0][1:]], *args[1:], **kwargs))
        first = args[0] if args else None
        rows = first if isinstance(first, Tensor) and first.ndim and len(first) == self.own else None
        if self.strange is None and (rows is None or func.overloadpacket not in STEADY):
            self.strange = int(torch.default_generator.initial_seed() ^ 0x5DEECE66D) >> 1
        return func(*args, **kwargs) if rows is None else self.drawn(func, rows, args, kwargs)

    def drawn(self, func: Any, first: Tensor, args: Any, kwargs: Any) -> Any:
        """A random operation on a tensor of own rows."""
        full: Callable[[Tensor], Tensor] = self.widened
        wide = tree_map_only(Tensor, full, (args, kwargs))
        out = func(*wide[0], **wide[1])
        if func._schema.is_mutable:
            first.copy_(self.rows(out))
            return first
        return tree_map_only(Tensor, self.rows, out)

    def widened(self, value: Tensor) -> Tensor:
        """A tensor of own rows among all rows; the others hold a half, which is a chance and a scale."""
        if value.ndim == 0 or len(value) != self.own:
            return value
        strides = value.stride()
        order = sorted(range(value.ndim), key=lambda axis: -strides[axis])  # noise is drawn as memory lies
        shape = (self.count, *value.shape[1:])
        wide = value.new_empty([shape[axis] for axis in order])
        wide = wide.permute([order.index(axis) for axis in range(value.ndim)])
        wide.fill_(0.5)[self.start : self.start + self.own] = value
        return wide

    def rows(self, full: Tensor) -> Tensor:
        """Own rows."""
        return full[self.start : self.start + self.own].clone() if full.ndim and len(full) == self.count else full
