"""Weights that are shared out (FSDP2): a process keeps a piece of each, and has all of it while a network passes."""

from collections.abc import Iterable, Mapping, Sequence
from inspect import signature
from typing import Any, cast

import torch
from torch import Tensor, nn

from uncollapse.errors import Unsupported, said
from uncollapse.processes.group import Group

__all__ = ["clip", "entire", "in_pieces", "own_piece", "pieces_like", "share_out"]

LARGE = 10**6  #: numbers in a block of a network that are worth an exchange of their own


def in_pieces(value: Any) -> bool:
    """Whether a tensor is one of which this process has a piece."""
    return hasattr(value, "full_tensor")


def own_piece(value: Any) -> Any:
    """The numbers that this process has of a tensor."""
    return value.to_local() if in_pieces(value) else value


def share_out(networks: Iterable[nn.Module], group: Group, device: torch.device) -> None:
    """Keep only a piece of every weight of these networks, which need their weights in their forward passes alone.

    A network is taken apart after every pass, so that whoever reads a weight in between fails and does not lose a
    gradient.

    Raises:
        Unsupported: when two networks have a weight in common, or torch cannot take one apart.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    if signature(fully_shard).parameters["reshard_after_forward"].default is not None:
        raise Unsupported(f"strategy='fsdp' needs torch 2.8 or newer, this is {torch.__version__}; use strategy='ddp'")
    found = units(networks)
    refuse_ties(found)
    mesh = init_device_mesh(device.type, (group.size,))
    for unit in found:
        try:
            fully_shard(unit, mesh=mesh, reshard_after_forward=True)
        except (ValueError, NotImplementedError) as error:
            raise Unsupported(
                f"the weights of {type(unit).__name__} cannot be shared out ({said(error)}); use strategy='ddp'"
            ) from error


def units(networks: Iterable[nn.Module]) -> list[nn.Module]:
    """What is put together at a time: large blocks of networks, and what is left of each network; inner first."""
    whole = [part for network in networks for part in parts(network) if any(True for _ in part.parameters())]
    rows = [one for network in whole for one in network.modules() if isinstance(one, nn.ModuleList | nn.Sequential)]
    blocks = [one for row in rows for one in row if sum(p.numel() for p in one.parameters()) >= LARGE]
    return sorted(dict.fromkeys([*blocks, *whole]), key=lambda one: sum(1 for _ in one.modules()))


def parts(network: nn.Module) -> list[nn.Module]:
    """The network; or, where its output passes modules of it once more, those, which it names in `later`.

    The other weights of such a network stay whole: nothing tells when they are needed for the last time.
    """
    if not hasattr(network, "later"):
        return [network]
    named = [network.get_submodule(name) for name in cast(Any, network).later]
    return [one for child in named for one in (child if isinstance(child, nn.ModuleList) else [child])]


def refuse_ties(found: Sequence[nn.Module]) -> None:
    """Refuse weights that belong to two units of which neither is a part of the other."""
    owners: dict[int, nn.Module] = {}
    for unit in found:
        inside = {id(one) for one in unit.modules()}
        for name, parameter in unit.named_parameters():
            other = owners.get(id(parameter))
            if other is not None and id(other) not in inside:
                raise Unsupported(
                    f"{type(other).__name__} and {type(unit).__name__} have the weight {name} in common, so that "
                    "neither can be shared out; use strategy='ddp'"
                )
            owners[id(parameter)] = unit


def entire(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with all of their numbers; every process has to ask."""
    return {name: cast(Any, value).full_tensor() if in_pieces(value) else value for name, value in tensors.items()}


def pieces_like(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, the same in every process, taken apart as another one is; as it is where that one is whole."""
    if not in_pieces(like) or in_pieces(value) or value.shape != like.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    whole = value.to(like.device, like.dtype)
    return distribute_tensor(whole, like.device_mesh, like.placements)  # type: ignore[attr-defined]


def clip(parameters: Iterable[nn.Parameter], most: float, group: Group) -> None:
    """Scale the gradients so that the norm of all of them, over all processes, is at most this."""
    grads: list[Any] = [p.grad for p in parameters if p.grad is not None]
    own = [own_piece(grad) for grad in grads if in_pieces(grad)]
    rest = [grad for grad in grads if not in_pieces(grad)]
    total = group.add(squares(own, grads[0].device)) + squares(rest, grads[0].device)
    torch._foreach_mul_([*own, *rest], (most / (total.sqrt() + 1e-6)).clamp(max=1))


def squares(values: list[Tensor], device: torch.device) -> Tensor:
    """The sum of all squares."""
    return torch.stack(torch._foreach_norm(values)).square().sum() if values else torch.zeros((), device=device)
