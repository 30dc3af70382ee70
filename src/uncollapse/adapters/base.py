"""Somebody's model as the three questions that the rest of the package asks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from uncollapse.draw import Model

__all__ = ["Adapted"]


@dataclass(frozen=True, eq=False)
class Adapted:
    """A model seen through an adapter.

    Attributes:
        model: answers `posterior`, `likelihood` and `prior`; an `nn.Module` where the original is one.
        kind: whose model it is: "uncollapse", "encode/decode", "pythae", "scvi-tools", "diffusers", "text" or
            "lightning".
        decodes: whether `likelihood` can be asked.
        remarks: what a reader must know: how latents were flattened, which likelihood was assumed, and why.
        groups: columns of z by group (a level of a hierarchy, a channel), where there is more than one.
        assumed: whether the likelihood is a guess of ours (squared error with variance from the residuals, say).
        loss: the library's own training loss of a batch, (native model, x) -> scalar, where it has one.
        prepare: turns one batch of the user's data into (x, labels or None); None where the data are plain.
    """

    model: Model
    kind: str = "uncollapse"
    decodes: bool = True
    remarks: tuple[str, ...] = ()
    groups: Mapping[str, slice] = field(default_factory=dict)
    assumed: bool = False
    loss: Callable[[Any, Tensor], Tensor] | None = None
    prepare: Callable[[Any], tuple[Tensor, Tensor | None]] | None = None
