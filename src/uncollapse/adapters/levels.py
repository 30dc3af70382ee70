"""Latents of any shape as rows (B, D), and back."""

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

__all__ = ["Levels"]

MOST = 64  #: groups that a level is split into at most


@dataclass(frozen=True)
class Levels:
    """The shapes of one or more levels of latents, without the batch.

    Attributes:
        shapes: one shape a level: (D,), (C, H, W), (T, D), ...
        several: whether the decoder takes a list of levels.

    Example:
        >>> Levels(((4, 2, 2),)).groups()["channel 1"]
        slice(4, 8, None)
    """

    shapes: tuple[tuple[int, ...], ...]
    several: bool = False

    @property
    def sizes(self) -> list[int]:
        """Latents of each level."""
        return [prod(shape) for shape in self.shapes]

    def flat(self, parts: list[Tensor]) -> Tensor:
        """(B, D) from one tensor (B, *S) a level."""
        return torch.cat([part.flatten(1) for part in parts], 1)

    def unflat(self, z: Tensor) -> Any:
        """What the decoder takes, from (B, D): one tensor (B, *S), or a list of them."""
        pieces = torch.split(z, self.sizes, 1)
        levels = [piece.reshape(-1, *shape) for piece, shape in zip(pieces, self.shapes, strict=True)]
        return levels if self.several else levels[0]

    def groups(self) -> dict[str, slice]:
        """Columns by level, or by channel (or place in a sequence) of the one level; {} for plain vectors."""
        if self.several:
            ends = torch.tensor(self.sizes).cumsum(0).tolist()
            pairs = zip(ends, self.sizes, strict=True)
            return {f"level {i}": slice(end - size, end) for i, (end, size) in enumerate(pairs)}
        shape = self.shapes[0]
        if len(shape) < 2 or not 1 < shape[0] <= MOST:
            return {}
        step, word = prod(shape[1:]), "channel" if len(shape) > 2 else "row"
        return {f"{word} {i}": slice(i * step, (i + 1) * step) for i in range(shape[0])}

    def remark(self) -> str:
        """How latents became columns; "" for plain vectors."""
        if self.several:
            shapes = ", ".join(str(shape) for shape in self.shapes)
            return (
                f"{len(self.shapes)} levels of latents of shapes {shapes} are laid side by side as {sum(self.sizes)} "
                "columns; each is held against N(0, I) and read as independent given x, so a prior that is conditional "
                "on the level above is not seen"
            )
        if len(self.shapes[0]) > 1:
            return (
                f"latents of shape {self.shapes[0]} are flattened to {self.sizes[0]} columns, the first index slowest"
            )
        return ""
