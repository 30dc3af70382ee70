"""Passing a model once more than the loop does, without leaving a trace in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

__all__ = ["frozen", "still"]


def parts(model: Any) -> list[nn.Module]:
    """The modules of a model, which may be a plain object that holds some."""
    owners = [model] if isinstance(model, nn.Module) else vars(model).values()
    return [part for owner in owners if isinstance(owner, nn.Module) for part in owner.modules()]


@contextmanager
def still(model: Any) -> Iterator[None]:
    """Normalisation layers do not remember what passes while it holds.

    Running statistics of data mixed with decoded codes fit neither, and evaluation uses them: log-variances explode.
    """
    layers = [part for part in parts(model) if getattr(part, "running_mean", None) is not None]
    kept = [(layer, name, buffer) for layer in layers for name, buffer in layer.named_buffers(recurse=False)]
    for layer, name, buffer in kept:
        setattr(layer, name, buffer.clone())  # what is written into is thrown away
    try:
        yield
    finally:
        for layer, name, buffer in kept:
            setattr(layer, name, buffer)


@contextmanager
def frozen(model: Any) -> Iterator[None]:
    """Gradients pass through the model, but not into its weights, while it holds."""
    weights = {p for part in parts(model) for p in part.parameters(recurse=False) if p.requires_grad}
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)
