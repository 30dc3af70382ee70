"""A model is left as it was, whatever somebody's loss or network does to it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["as_it_was"]


@contextmanager
def as_it_was(module: nn.Module | None, weights: bool = False) -> Iterator[None]:
    """Put back training flags, requires_grad, gradients and buffers, and the weights themselves if asked to.

    Arguments:
        module: None does nothing.
        weights: whether to keep a copy of the weights, for code that may change them.
    """
    if module is None:
        yield
        return
    modes = [(one, one.training) for one in module.modules()]
    kept = list(module.parameters())
    flags = [(p, p.requires_grad, p.grad, None if p.grad is None else p.grad.clone()) for p in kept]
    tensors = [*module.buffers(), *(kept if weights else [])]
    values = [(one, one.detach().clone()) for one in tensors]
    try:
        yield
    finally:
        for one, mode in modes:
            one.training = mode
        for parameter, flag, gradient, _ in flags:
            if parameter.requires_grad != flag:
                parameter.requires_grad_(flag)
            if parameter.grad is not gradient:
                parameter.grad = gradient
        values += [(gradient, copy) for *_, gradient, copy in flags if gradient is not None and copy is not None]
        with torch.no_grad():
            for tensor, value in values:
                if not same(tensor, value):
                    tensor.copy_(value)


def same(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Whether two tensors hold the same numbers, NaN included."""
    return first.shape == second.shape and bool(torch.equal(first.nan_to_num(), second.nan_to_num()))
