"""What networks ask of the shapes and settings that they are built with."""

import math
from collections.abc import Sequence
from typing import Any

from torch import nn

from uncollapse.errors import BadInput, ShapeError

__all__ = ["activation_of", "check_latent", "check_shape", "check_widths", "image_shape", "numel", "whole"]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
}


IN_PLACE = {"relu", "elu", "leaky_relu"}  #: their gradient is a function of their result


def activation_of(name: Any, overwrite: bool = False) -> nn.Module:
    """A fresh activation by its name.

    Arguments:
        name: a key of `ACTIVATIONS`.
        overwrite: whether its input, which nobody else needs, may be overwritten where the gradient allows it.

    Raises:
        BadInput: for an unknown name.

    Example:
        >>> activation_of("elu")
        ELU(alpha=1.0)
    """
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise BadInput(f"activation should be one of {', '.join(ACTIVATIONS)}, got {name!r}")
    return ACTIVATIONS[name](inplace=True) if overwrite and name in IN_PLACE else ACTIVATIONS[name]()


def check_shape(shape: Any, user: str) -> tuple[int, ...]:
    """The shape of one observation as a tuple of positive whole numbers.

    Raises:
        ShapeError: when it is empty or holds anything else.
    """
    if not isinstance(shape, Sequence) or isinstance(shape, str) or not shape or not all(map(whole, shape)):
        raise ShapeError(f"{user} expects the shape of one observation, such as (1, 28, 28) or (16,), got {shape!r}")
    return tuple(int(size) for size in shape)


def image_shape(shape: Any, user: str) -> tuple[int, int, int]:
    """Channels, height and width of an image.

    Raises:
        ShapeError: when the observation is not an image.
    """
    checked = check_shape(shape, user)
    if len(checked) != 3:
        raise ShapeError(
            f"{user} expects images of shape (channels, height, width), got {checked}; "
            "add a channel dimension, or take an MLP for data that are not images"
        )
    return checked


def check_latent(latent: int) -> int:
    """The latent dimension D.

    Raises:
        BadInput: when it is not a positive whole number.
    """
    if not whole(latent):
        raise BadInput(f"latent should be a positive whole number of dimensions, got {latent!r}")
    return latent


def whole(value: object) -> bool:
    """Whether the value is a positive whole number."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def check_widths(widths: Any, name: str) -> list[int]:
    """The widths of some layers as a list of positive whole numbers.

    Raises:
        BadInput: when it is anything else.
    """
    if isinstance(widths, str) or not isinstance(widths, Sequence) or not all(map(whole, widths)):
        raise BadInput(f"{name} should be a list of layer widths such as (64, 64), got {widths!r}")
    return list(widths)


def numel(shape: Sequence[int]) -> int:
    """How many numbers one observation holds."""
    return math.prod(shape)
