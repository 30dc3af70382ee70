"""A copy of a network that follows it slowly."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from uncollapse.distributions import describe
from uncollapse.errors import BadInput
from uncollapse.processes.shards import own_piece

__all__ = ["duplicate", "follow"]


def duplicate(encoder: nn.Module) -> nn.Module:
    """A copy without gradients."""
    try:
        return copy.deepcopy(encoder).requires_grad_(False)
    except (RuntimeError, TypeError) as error:
        raise BadInput(
            f'MomentumContrast copies the encoder, and this one does not deep-copy: {error}; key="none" needs no copy'
        ) from error


def follow(mine: nn.Module, theirs: Any, momentum: float) -> None:
    """Move parameters and buffers towards another module's; whole numbers are copied."""
    if not isinstance(theirs, nn.Module):
        raise BadInput(f"MomentumContrast looks for model.encoder, a module, and found {describe(theirs)}")
    ours, goal = tensors(mine), tensors(theirs)
    if [(n, v.shape, v.dtype) for n, v in ours.items()] != [(n, v.shape, v.dtype) for n, v in goal.items()]:
        raise BadInput(
            "the model's encoder is not built like the one that MomentumContrast was given; pass encoder=model.encoder"
        )
    pairs = [(ours[name], goal[name]) for name in ours]
    real = [pair for pair in pairs if pair[0].is_floating_point() or pair[0].is_complex()]
    if real:
        torch._foreach_lerp_([own_piece(one) for one, _ in real], [own_piece(other) for _, other in real], 1 - momentum)
    for one, other in pairs:
        if not (one.is_floating_point() or one.is_complex()):
            one.copy_(other)


def tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}
