"""LightningModules: the VAE that they are or hold, and their training step as the loss."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from uncollapse.adapters.base import Adapted
from uncollapse.adapters.encoding import ENCODERS, named
from uncollapse.distributions import Reader
from uncollapse.errors import BadInput, ShapeError, UncollapseError, Unsupported

__all__ = ["adapt_lightning"]

HELD = ("model", "vae", "net", "network", "module", "autoencoder", "generator")


def adapt_lightning(
    native: Any,
    x: Tensor | None,
    likelihood: str | Reader | None,
    prior: Distribution | None,
    itself: Callable[..., Adapted],
    adapt: Callable[..., Adapted],
) -> Adapted:
    """A LightningModule that is a VAE, or that holds one as an attribute (`model`, `vae`, `net`, ...).

    Arguments:
        native: the LightningModule.
        x: (B, *X), a batch as its network takes it.
        likelihood, prior: as for `adapt`.
        itself: adapter of the module's own methods.
        adapt: adapter of what the module holds.

    Raises:
        BadInput: when neither the module nor a part of it can be read.
    """
    errors: list[str] = []
    for name, one in candidates(native):
        try:
            adapted = (adapt if name else itself)(one, x, likelihood, prior)
        except UncollapseError as error:
            errors.append(f"{name or 'itself'}: {error}")
            continue
        where = (f"the VAE is the module's attribute `{name}`",) if name else ()
        return replace(adapted, kind="lightning", remarks=(*where, *adapted.remarks), loss=training_loss)
    raise BadInput(f"no VAE was found in the LightningModule {type(native).__name__}: {'; '.join(errors)}")


def candidates(native: Any) -> list[tuple[str, Any]]:
    """The module itself if it encodes, then its parts that do; for its forward, the module comes last."""
    children = dict(native.named_children())
    order = [*(name for name in HELD if name in children), *(name for name in children if name not in HELD)]
    inside = [(name, children[name]) for name in order if encodes(children[name])]
    return [("", native), *inside] if encodes(native) else [*inside, ("", native)]


def encodes(part: Any) -> bool:
    """Whether a part has something like an encoder, or answers `posterior` itself."""
    return named(part, ENCODERS) is not None or hasattr(part, "posterior")


def training_loss(native: Any, x: Tensor) -> Tensor:
    """The module's own training loss of a batch, outside a Trainer.

    The batch is handed over as (x, labels) first, with labels of zero, and then as x alone.

    Raises:
        Unsupported: when `training_step` takes neither, or needs its Trainer.
    """
    labels = torch.zeros(len(x), dtype=torch.long, device=x.device)
    error = ""
    for batch in ([x, labels], x):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Lightning warns that self.log() has no Trainer
                out = native.training_step(batch, 0)
            return scalar(out)
        except torch.OutOfMemoryError:
            raise
        except Exception as problem:
            error = error or f"{type(problem).__name__}: {problem}"
    raise Unsupported(
        f"training_step of {type(native).__name__} gives no loss of a batch x or (x, labels) outside a Trainer "
        f"({error}); pass loss="
    )


def scalar(out: Any) -> Tensor:
    """The loss in what a training step returned."""
    loss = out["loss"] if isinstance(out, Mapping) else out
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        raise ShapeError("training_step should return one number or a mapping with 'loss'")
    return loss.reshape(())
