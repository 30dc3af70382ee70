"""One part of a data set: examples in the smallest honest type, and floats when they are asked for."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from uncollapse.errors import BadInput, ShapeError

__all__ = ["BINARISE", "Known", "Part"]

BINARISE = ("none", "dynamic", "fixed")
ROWS = 4096  # examples binarised at a time: bounds the memory, and is part of what a seed means


@dataclass(frozen=True, eq=False)
class Known:
    """What is known about examples without reading them; it speaks of this very tensor and of no other.

    Attributes:
        x: the tensor.
        digest: of its bytes.
        low, high: its smallest and largest stored number, NaN if there is one.
    """

    x: Tensor
    digest: str
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Part:
    """N examples of the same shape, with or without labels.

    The value of a stored number is `x / divisor`. "dynamic" draws every pixel afresh, with its value as the
    chance of ink, each time a training batch is taken; "fixed" draws once, by the seed. Evaluation always
    sees the fixed draw.

    Arguments:
        x: (N, *X), any real type; bytes for images.
        y: (N,) whole numbers, or None. Labels stay on the CPU.
        divisor: the stored number that means 1.
        binarise: "none", "dynamic" or "fixed".
        seed: of the fixed draw.
        tokens: whether the numbers are ids of words or signs, padded with 0 at the end; they then stay whole numbers.
        known: digest and range of `x`, where `x` is mapped from a file that should not be read for them.

    Raises:
        ShapeError: when the dimensions are wrong.
        BadInput: when there are fewer than two examples, a number is NaN or infinite, or there is ink to be
            drawn from values outside [0, 1].

    Example:
        >>> part = Part(torch.tensor([[0, 255], [255, 0]], dtype=torch.uint8), divisor=255, binarise="dynamic")
        >>> part.take(torch.tensor([1]))
        tensor([[1., 0.]])
    """

    x: Tensor
    y: Tensor | None = None
    divisor: float = 1.0
    binarise: str = "none"
    seed: int = 0
    tokens: bool = False
    known: Known | None = None

    def __post_init__(self) -> None:
        if self.binarise not in BINARISE:
            raise BadInput(f"binarise should be one of {', '.join(BINARISE)}, got {self.binarise!r}")
        if not isinstance(self.divisor, int | float) or not 0 < self.divisor < float("inf"):
            raise BadInput(f"divisor should be the stored number that means 1, got {self.divisor!r}")
        if self.known is not None and self.known.x is not self.x:
            object.__setattr__(self, "known", None)
        check_examples(self.x, self.known)
        if self.tokens and (self.x.is_floating_point() or self.divisor != 1 or self.binarise != "none"):
            raise BadInput("tokens are whole numbers (N, T) that are neither divided nor binarised")
        low, high = self.range
        if self.binarise != "none" and (low < 0 or high > 1):
            raise BadInput(
                f"binarisation needs values between 0 and 1, got {low:g} to {high:g}; set divisor to the number "
                'that means full ink, or take binarise="none"'
            )
        if self.y is not None:
            check_labels(self.y, len(self.x))

    def __len__(self) -> int:
        return len(self.x)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape X of one example."""
        return tuple(self.x.shape[1:])

    @property
    def nbytes(self) -> int:
        """Bytes that the stored examples and labels take."""
        return sum(t.numel() * t.element_size() for t in (self.x, self.y) if t is not None)

    @cached_property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest value."""
        low, high = self.x.aminmax() if self.known is None else (self.known.low, self.known.high)
        return float(low) / self.divisor, float(high) / self.divisor

    @cached_property
    def lengths(self) -> Tensor:
        """Tokens of every example before its padding, (N,)."""
        return (self.x != 0).flatten(1).sum(1).cpu()

    @cached_property
    def drawn(self) -> Tensor:
        """The examples as evaluation sees them: bytes 0 and 1 drawn by the seed, or the stored ones."""
        if self.binarise == "none":
            return self.x
        generator = torch.Generator().manual_seed(self.seed)
        pieces = []
        for start in range(0, len(self), ROWS):
            chance = self.x[start : start + ROWS].cpu().float() / self.divisor
            pieces.append((torch.rand(chance.shape, generator=generator) < chance).byte())
        return torch.cat(pieces).to(self.x.device)

    def take(self, index: Tensor | Sequence[int], device: torch.device | str | None = None) -> Tensor:
        """A training batch.

        Arguments:
            index: (B,), which examples.
            device: where the batch should be; where the examples are if None. Dynamic binarisation draws
                from that device's global random stream, so `torch.manual_seed` decides it.

        Returns:
            (B, *X), float32; int64 for tokens.
        """
        where = torch.as_tensor(index, device=self.x.device)
        source = self.drawn if self.binarise == "fixed" else self.x
        picked = source.index_select(0, where)
        if device is not None:
            picked = picked.to(device, non_blocking=True)
        if self.binarise == "fixed":
            return picked.float()
        values = self._value(picked)
        # a comparison with uniform numbers takes a third of the time of torch.bernoulli on a processor
        return (torch.rand_like(values) < values).float() if self.binarise == "dynamic" else values

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Pairs of examples (B, *X), float32, and labels (B,) or None, in order, in evaluation form."""
        if batch_size < 1:
            raise BadInput(f"batch_size should be at least 1, got {batch_size}")
        for start in range(0, len(self), batch_size):
            piece = slice(start, start + batch_size)
            yield self._evaluated(piece), None if self.y is None else self.y[piece]

    def head(self, count: int) -> "Part":
        """The first examples, as evaluation sees them."""
        drawn = self.binarise != "none"
        return replace(
            self,
            x=self.drawn[:count],
            y=None if self.y is None else self.y[:count],
            divisor=1.0 if drawn else self.divisor,
            binarise="none",
        )

    def tensor(self) -> Tensor:
        """The whole part in evaluation form, (N, *X), float32."""
        return self._evaluated(slice(None))

    def to(self, device: torch.device | str) -> "Part":
        """The same part with its examples on another device."""
        x = self.x.to(device)
        moved = replace(self, x=x, known=None if self.known is None else replace(self.known, x=x))
        if "drawn" in self.__dict__:
            moved.__dict__["drawn"] = self.drawn.to(device)
        return moved

    def _evaluated(self, piece: slice) -> Tensor:
        return self._value(self.x[piece]) if self.binarise == "none" else self.drawn[piece].float()

    def _value(self, stored: Tensor) -> Tensor:
        if self.tokens:
            return stored.long()
        return stored.float() if self.divisor == 1 else stored.float() / self.divisor

    def __repr__(self) -> str:
        labels = "no labels" if self.y is None else "labels"
        stored = str(self.x.dtype).removeprefix("torch.")
        return f"Part({len(self)} x {self.shape} {stored}, {labels}, binarise={self.binarise!r})"


def check_examples(x: Any, known: Known | None = None) -> None:
    """Refuse what is not a table of at least two finite examples."""
    if not isinstance(x, Tensor):
        raise ShapeError(f"examples should be a tensor (N, *X), got {type(x).__name__}")
    if x.ndim < 2:
        raise ShapeError(
            f"examples should be (N, *X) with at least one dimension each, got {tuple(x.shape)}; "
            "reshape single numbers to (N, 1)"
        )
    if len(x) < 2:
        raise BadInput(f"at least two examples are needed, got {len(x)}")
    if x.numel() == 0 or x.is_complex():
        raise ShapeError(f"examples should hold real numbers, got {x.dtype} of shape {tuple(x.shape)}")
    if known is not None and math.isfinite(known.low) and math.isfinite(known.high):
        return
    if x.is_floating_point() and not x.isfinite().all():
        bad = (~x.isfinite()).flatten(1).any(1).nonzero().flatten()
        raise BadInput(
            f"examples should be finite, but {len(bad)} of {len(x)} hold NaN or infinite numbers "
            f"(first: example {int(bad[0])}); remove them or fill them in"
        )


def check_labels(y: Any, n: int) -> None:
    """Refuse labels that are not one whole number an example."""
    if not isinstance(y, Tensor) or tuple(y.shape) != (n,):
        got = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
        raise ShapeError(f"one label an example is needed, shape ({n},), got {got}")
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise BadInput(f"labels should be whole numbers, got {y.dtype}")
