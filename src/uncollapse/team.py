"""The processes of one run: what only the first of them does, what all must agree on, what they exchange."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

from uncollapse.errors import UncollapseError, Unsupported, WorkFailed
from uncollapse.objective import Objective
from uncollapse.processes import Group, sharing, using
from uncollapse.processes.shards import in_pieces
from uncollapse.sides import sides

__all__ = ["Team", "across"]

T = TypeVar("T")

IN_PIECES = ("DTensor", "storage of size 0")  #: in what torch says of weights that are asked for while they are apart


class Team:
    """All processes of a run, seen from one of them.

    Arguments:
        group: this process among the others; None where it is alone, and then nothing below costs anything.
    """

    def __init__(self, group: Group | None = None) -> None:
        self.group = group

    @property
    def size(self) -> int:
        """R, the number of processes."""
        return 1 if self.group is None else self.group.size

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and speaks to people."""
        return self.group is None or self.group.rank == 0

    def first_does(self, work: Callable[[], T]) -> T:
        """What `work` returns in the first process, known to all; its error is everybody's error."""
        if self.group is None:
            return work()
        answer: tuple[Any, BaseException | None] = (None, None)
        if self.first:
            try:
                answer = (work(), None)
            except UncollapseError as error:
                answer = (None, error)
        found, mistake = self.group.told(answer)
        if mistake is not None:
            raise mistake
        return cast(T, found)

    def any(self, here: bool, device: torch.device) -> bool:
        """Whether something is so in one process at least."""
        if self.group is None:
            return here
        return bool(self.group.add(torch.tensor(int(here), device=device)))

    @contextmanager
    def at_work(self, model: Any, objective: Objective) -> Iterator[None]:
        """While it holds, the networks of model and remedies share the rows of every batch.

        Raises:
            WorkFailed: when another process is gone.
        """
        if self.group is None:
            yield
            return
        try:
            with using(self.group), sharing(networks(model, objective)):
                yield
        except RuntimeError as error:
            if isinstance(error, UncollapseError):
                raise
            if any(words in str(error) for words in IN_PIECES):
                raise Unsupported(
                    "something reads weights outside of a network's forward pass, or needs gradients of gradients, for "
                    f"which weights that are shared out are not there ({first_line(error)}); use strategy='ddp'"
                ) from error
            if not lost(error):
                raise
            raise WorkFailed(
                f"process {self.group.rank} of {self.size} lost another one ({first_line(error)}); "
                "what was kept in the folder is there, run again to resume"
            ) from error

    def average(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace gradients by their mean over processes (see `uncollapse.processes.exchange`)."""
        if self.group is None:
            return
        kinds: dict[torch.dtype, list[Tensor]] = {}
        for parameter in parameters:
            if parameter.grad is not None and not in_pieces(parameter.grad):  # those are means already
                kinds.setdefault(parameter.grad.dtype, []).append(parameter.grad)
        for grads in kinds.values():
            flat = self.group.add(_flatten_dense_tensors(grads)) / self.size  # type: ignore[no-untyped-call]
            torch._foreach_copy_(grads, list(_unflatten_dense_tensors(flat, grads)))  # type: ignore[no-untyped-call]

    def start_alike(self, module: nn.Module) -> None:
        """Give all processes the weights and states of the first."""
        if self.group is not None:
            state = {name: value.cpu() for name, value in module.state_dict().items()} if self.first else None
            module.load_state_dict(self.group.told(state))

    def check_alike(self, module: nn.Module, step: int) -> None:
        """Make sure that weights and states are the same everywhere.

        Raises:
            WorkFailed: when they are not.
        """
        if self.group is None:
            return
        ours = digest(module)
        if self.any(ours != self.group.told(ours), next(module.parameters()).device):
            raise WorkFailed(
                f"the weights of the {self.size} processes differ at step {step}, so something in the model or a "
                "remedy depends on the process; give it the same random numbers everywhere, or train with devices=1"
            )


@contextmanager
def across(model: Any, objective: Objective | None = None) -> Iterator[Team]:
    """Share the rows of every batch among the processes of `torch.distributed`, in a loop or evaluation of one's own.

    Every process runs the same lines on the same batch of all examples, and each network passes its own share of the
    rows. What comes out, terms and metrics, is that of the whole batch, the same in every process; noise and statistics
    of batch normalisation are those of one process alone. After `backward`, `average` has to be called.

    Arguments:
        model: the same in all processes, as are the random seeds.
        objective: whose remedies may have networks of their own.

    Yields:
        A `Team`: `average(parameters)` averages the gradients, `first` says which process may write.

    Example:
        >>> model = uncollapse.VAE(torch.nn.Linear(16, 8), torch.nn.Linear(4, 16), latent=4)
        >>> with across(model) as team:  # alone, nothing is shared
        ...     loss = sum(uncollapse.Objective().of(model, torch.rand(8, 16)).values()).mean()
        ...     loss.backward()
        ...     team.average(list(model.parameters()))
        >>> team.size
        1
    """
    there = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
    team = Team(Group(dist.get_rank(), dist.get_world_size()) if there else None)
    with team.at_work(model, objective or Objective()):
        yield team


def networks(model: Any, objective: Objective) -> list[nn.Module]:
    """What passes examples or codes row by row: encoder and decoder, and the networks that remedies name."""
    readers = {id(getattr(model, name, None)) for name in ("read_q", "read_x")}
    parts = [one for members in sides(model).values() for one in members if id(one) not in readers]
    named = [one for _, remedy in objective.members() for one in remedy.networks]
    return [one for one in (*parts, *named) if isinstance(one, nn.Module)]


def digest(module: nn.Module) -> str:
    """A hash of all weights and states, but those of which every process has another piece."""
    found = hashlib.blake2b(digest_size=16)
    for name, value in module.state_dict().items():
        if in_pieces(value):
            continue
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()


def lost(error: RuntimeError) -> bool:
    """Whether an error is one of the exchange between processes."""
    words = ("connection", "gloo", "nccl", "peer", "timed out", "socket", "process group")
    return any(word in str(error).lower() for word in words)


def first_line(error: BaseException) -> str:
    """The first line of what an error says, shortened."""
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:160]
