"""Augmentations by name, and several of them in a row."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

from torch import Tensor

from uncollapse.augment.colour import Colour
from uncollapse.augment.values import BitFlip, Dropout, Noise, TokenDropout
from uncollapse.augment.warps import Affine, Crop, Flip, Warp, warped
from uncollapse.errors import BadInput

__all__ = ["Augmentation", "Chain", "Spec", "of"]

Augmentation = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Chain:
    """Several augmentations after each other; neighbours that move pixels sample the image once, together.

    What lies beyond a crop is then still the image, not a border.

    Example:
        >>> Chain((Crop(), Flip()))(torch.rand(2, 1, 8, 8)).shape
        torch.Size([2, 1, 8, 8])
    """

    parts: tuple[Augmentation, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))

    def __repr__(self) -> str:
        parts = [getattr(part, "__qualname__", None) or repr(part) for part in self.parts]
        return f"Chain(({', '.join(parts)}{',' * (len(parts) == 1)}))"

    def __call__(self, x: Tensor) -> Tensor:
        """A view (B, *X)."""
        together: list[Warp] = []
        for part in self.parts:
            if isinstance(part, Warp):
                together.append(part)
            else:
                x = part(warped(x, together) if together else x)
                together = []
        return warped(x, together) if together else x


KNOWN: dict[str, type] = {
    "crop": Crop, "flip": Flip, "affine": Affine, "colour": Colour, "bits": BitFlip, "noise": Noise,
    "dropout": Dropout, "tokens": TokenDropout, "none": Chain,
}  # fmt: skip

Spec = str | Mapping[str, Any] | Sequence[Any] | Augmentation


def of(spec: Spec) -> Augmentation:
    """An augmentation from plain values, as they stand in a YAML file.

    Arguments:
        spec: a name or several joined by "+", one mapping with the key "name" and the options of that class, a list
            of these, applied in order, or a function of one's own, which is returned as it is.

    Raises:
        BadInput: for an unknown name or option (with the nearest right one), or a value that makes no sense.

    Example:
        >>> of("crop+flip")
        Chain((Crop(scale=(0.5, 1.0), ratio=(0.75, 1.3333333333333333)), Flip(p=0.5)))
        >>> of({"name": "bits", "p": 0.05})
        BitFlip(p=0.05)
    """
    if callable(spec) and not isinstance(spec, type):
        return spec
    if isinstance(spec, str):
        parts = [named({"name": name.strip()}) for name in spec.split("+")]
    elif isinstance(spec, Mapping):
        parts = [named(spec)]
    elif isinstance(spec, Sequence):
        parts = [of(one) for one in spec]
    else:
        raise BadInput(f"an augmentation is a name, a mapping, a list of these or a function, got {spec!r}")
    return parts[0] if len(parts) == 1 else Chain(tuple(parts))


def named(spec: Mapping[str, Any]) -> Augmentation:
    """The augmentation of a mapping {name: ..., option: value}."""
    name = spec.get("name")
    kind = KNOWN[nearest("augmentation", name, list(KNOWN))]
    allowed = [field.name for field in fields(kind)] if kind is not Chain else []
    options = {nearest(f"option of {name}", key, allowed): value for key, value in spec.items() if key != "name"}
    return cast(Augmentation, kind(**options))


def nearest(what: str, name: Any, known: Sequence[str]) -> str:
    """The name, if it is known; otherwise an error with the nearest one that is."""
    if isinstance(name, str) and name in known:
        return name
    near = difflib.get_close_matches(str(name), known, 1, 0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise BadInput(f"there is no {what} {name!r}; {hint}known: {', '.join(known) or 'none'}")
