"""Walking an image pixel by pixel without computing twice what has been seen: a memory for every masked convolution.

In evaluation mode every layer of a masked network but its convolutions works on each pixel alone. A convolution needs
its input at the pixels before, and those never change again, so it keeps them. What a row gets from the rows above is
computed for the whole row at its first pixel; what remains for a pixel is a product with the part of its own row.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Memory", "Place", "stepping"]


class Place:
    """Where the walk is and the image (B, C, H, W) as far as it is drawn; one object for all memories of the walk."""

    def __init__(self, image: Tensor) -> None:
        self.image, self.row, self.column = image, 0, 0


class Kept(Protocol):
    """What a memory asks of its convolution."""

    border: int
    bias: Tensor
    hide_self: bool

    def seen(self) -> Tensor:
        """The masked weight (out, into, border + 1, 2 border + 1), last row the pixel's own."""


class Memory:
    """The past input of one convolution, and what the rows above give to the present row.

    Arguments:
        conv: the convolution.
        place: where the walk is.
    """

    def __init__(self, conv: Kept, place: Place) -> None:
        weight = conv.seen().detach()
        self.border, self.place, self.bias, self.late = conv.border, place, conv.bias.detach(), conv.hide_self
        self.above = weight[:, :, :-1]
        own = weight[:, :, -1, : self.border + 1]  # to the right of the pixel nothing is seen
        self.own = own.permute(0, 2, 1).flatten(1).contiguous()
        self.row = -1
        self.rows: Tensor | None = None  # (B, into, border, W + 2 border): the rows above
        self.line: Tensor | None = None  # (B, W + border, into): the present row
        self.given: Tensor | None = None  # (W, B, out): what the rows above give

    def step(self, x: Tensor) -> Tensor:
        """The convolution's output (B, out, 1, 1) at the present pixel for its input there (B, into, 1, 1)."""
        here = x.flatten(1)
        if not self.border:
            return F.linear(here, self.own, self.bias)[:, :, None, None]
        if self.row != self.place.row:
            self.turn(here)
        column = self.place.column
        assert self.line is not None
        assert self.given is not None
        if self.late and column:  # the first layer's input at a pixel is complete only after its turn
            self.line[:, column - 1 + self.border] = self.place.image[:, :, self.row, column - 1]
        self.line[:, column + self.border] = here
        part = self.line[:, column : column + self.border + 1].flatten(1)
        return (F.linear(part, self.own) + self.given[column])[:, :, None, None]

    def turn(self, here: Tensor) -> None:
        """Begin a row: the present one becomes the lowest of the rows above."""
        border, width = self.border, self.place.image.shape[3]
        if self.rows is None or self.line is None:
            self.rows = here.new_zeros(*here.shape, border, width + 2 * border)
        else:
            if self.late:
                self.line[:, -1] = self.place.image[:, :, self.row, -1]
            done = F.pad(self.line.mT, (0, border)).unsqueeze(2)
            self.rows = torch.cat([self.rows[:, :, 1:], done], 2)
        self.line = here.new_zeros(len(here), width + border, here.shape[1])
        self.given = F.conv2d(self.rows, self.above, self.bias)[:, :, 0].permute(2, 0, 1).contiguous()
        self.row = self.place.row


@contextmanager
def stepping(network: nn.Module, image: Tensor) -> Iterator[Place | None]:
    """While it holds, the network takes one pixel at a time of an image that is being drawn, in raster order.

    It gives the place, which the caller moves; or None, and changes nothing, for a network that does not say of itself,
    by `steps = True` in its class, that masked convolutions are all that connects its pixels.
    """
    if not getattr(type(network), "steps", False):
        yield None
        return
    convs = [part for part in network.modules() if hasattr(part, "memory")]
    place = Place(image)
    for conv in convs:
        conv.memory = Memory(conv, place)  # type: ignore[assignment, arg-type]
    try:
        yield place
    finally:
        for conv in convs:
            conv.memory = None  # type: ignore[assignment]
