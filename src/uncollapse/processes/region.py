"""Work on own rows: networks pass the rows of this process, and everything else sees the whole batch."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from uncollapse.processes.distribution import Unknown, put_together
from uncollapse.processes.exchange import mine, whole
from uncollapse.processes.group import Group, active, using
from uncollapse.processes.noise import whole_noise
from uncollapse.processes.norms import whole_statistics

__all__ = ["Region", "can_share", "longest", "own_rows", "region", "sharing", "together"]


@dataclass(frozen=True)
class Region:
    """Rows that this process works on.

    Attributes:
        group: of processes.
        count: N, rows of all of them.
    """

    group: Group
    count: int

    @property
    def own(self) -> int:
        """How many rows this process has."""
        return self.group.spans(self.count)[self.group.rank]


_region: Region | None = None


def region() -> Region | None:
    """The rows that are worked on now, or None where the whole batch is there."""
    return _region


def can_share(x: Any) -> Group | None:
    """The processes among which the rows of x can be shared: every one needs a row, and no transform may be at work."""
    group = active()
    if group is None or not isinstance(x, Tensor) or x.ndim < 1 or len(x) < group.size:
        return None
    return group if torch._C._functorch.peek_interpreter_stack() is None else None


@contextmanager
def own_rows(group: Group, count: int, *networks: Any) -> Iterator[Region]:
    """While it holds, this process works on its own rows: nothing is shared any further, noise and statistics of batch
    normalisation are those of all `count` rows."""
    global _region
    here = Region(group, count)
    with ExitStack() as stack:
        stack.enter_context(using(None))
        stack.enter_context(whole_noise(here.own, count, group.rows(count).start, networks))
        stack.enter_context(whole_statistics(group, count, here.own))
        before, _region = _region, here
        try:
            yield here
        finally:
            _region = before


def together(out: Any) -> Any:
    """What a network made of own rows, of all rows; outside of such work, as it is."""
    here = region()
    if here is None:
        return out
    return put_together(out, here.own, lambda own: whole(own, here.group, here.count))


def longest(own: int, device: torch.device) -> int:
    """The largest of a number over all processes, while rows are shared: rows padded alike draw the same noise."""
    here = region()
    if here is None:
        return own
    found = torch.tensor(own, device=device)
    dist.all_reduce(found, dist.ReduceOp.MAX, group=here.group.group)
    return int(found)


class Rowwise:
    """The forward pass of a network, done on own rows and put together.

    A network whose output cannot be put together (an object that computes later) passes all rows in every process.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network, self.forward, self.apart = network, network.forward, False

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """What the network returns for all rows."""
        group = can_share(arguments[0]) if arguments and not self.apart else None
        if group is None:
            return self.forward(*arguments, **named)
        count = len(arguments[0])
        with own_rows(group, count, self.network):
            try:
                return together(self.forward(*cut(arguments, group, count), **cut(named, group, count)))
            except Unknown:
                self.apart = True
        return self.forward(*arguments, **named)


def cut(values: Any, group: Group, count: int) -> Any:
    """Own rows of every tensor that has `count` rows."""
    if isinstance(values, dict):
        return {name: cut(value, group, count) for name, value in values.items()}
    if type(values) in (tuple, list):
        return type(values)(cut(value, group, count) for value in values)
    return mine(values, group) if isinstance(values, Tensor) and values.ndim and len(values) == count else values


@contextmanager
def sharing(networks: Iterable[nn.Module]) -> Iterator[None]:
    """While it holds, these networks share the rows of what they are called with among the active processes."""
    changed = [network for network in dict.fromkeys(networks) if "forward" not in vars(network)]
    for network in changed:
        object.__setattr__(network, "forward", Rowwise(network))
    try:
        yield
    finally:
        for network in changed:
            object.__delattr__(network, "forward")
