"""A callback for Lightning's Trainer that watches the posterior; import it from here, for this imports Lightning."""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from uncollapse.adapters import adapt
from uncollapse.adapters.base import Adapted
from uncollapse.data.batch import pair_of
from uncollapse.errors import BadInput, UncollapseError
from uncollapse.monitor import Monitor, Record

try:
    from lightning.pytorch import Callback
except ImportError:
    try:
        from pytorch_lightning import Callback
    except ImportError:
        Callback = None

__all__ = ["CollapseWatch"]


class CollapseWatch(Callback or object):  # type: ignore[misc]
    """Encodes the same held-out examples every few epochs and logs KL, information and active units.

    Scalars go to the Trainer's own loggers as `uncollapse/...`, a heat map of the KL per latent to TensorBoard where
    that is the logger, and warnings to the console.

    Arguments:
        every: epochs between two looks.
        keep: examples to look at: the first ones of the validation loader, or of the training loader without one.
        likelihood: as for `adapters.adapt`.
    """

    def __init__(self, every: int = 1, keep: int = 1024, likelihood: Any = None) -> None:
        if Callback is None:
            raise BadInput("CollapseWatch needs Lightning: pip install 'lightning!=2.6.2,!=2.6.3'")
        super().__init__()
        if every < 1:
            raise BadInput(f"CollapseWatch expects every >= 1, got {every}")
        self.every, self.likelihood = every, likelihood
        self.monitor = Monitor(keep=keep, tell=lambda record: warnings.warn(str(record), stacklevel=2))
        self.x: Tensor | None = None
        self.adapted: Adapted | None = None

    @property
    def history(self) -> list[Record]:
        """All records so far."""
        return self.monitor.history

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Look, unless it is not the turn."""
        if trainer.sanity_checking or (trainer.current_epoch + 1) % self.every or not trainer.is_global_zero:
            return
        if self.x is None:
            self.begin(trainer, pl_module)
        if self.x is None or self.adapted is None:
            return
        self.monitor.writer = board(trainer)
        record = self.monitor.look(self.adapted.model, torch.split(self.x.to(pl_module.device), 256))
        values = {"kl": record.kl, "mi_lower": record.lower, "mi_upper": record.upper,
                  "active_units": float(record.active_units)}  # fmt: skip
        pl_module.log_dict({f"uncollapse/{key}": value for key, value in values.items()}, rank_zero_only=True)

    def begin(self, trainer: Any, module: Any) -> None:
        """Collect the examples and find out how to read the model, once."""
        with torch.random.fork_rng([]):
            self.x = examples(loader_of(trainer), self.monitor.keep)
        try:
            self.adapted = adapt(module, self.x[:64].to(module.device), likelihood=self.likelihood)
        except UncollapseError as error:
            warnings.warn(f"uncollapse cannot read this model, and watches nothing: {error}", stacklevel=2)
            self.every = 10**9


def loader_of(trainer: Any) -> Any:
    """The validation loader, or the training loader where there is none."""
    loaders = trainer.val_dataloaders
    found = loaders if loaders else trainer.train_dataloader
    return found[0] if isinstance(found, list | tuple) else found


def examples(loader: Any, keep: int) -> Tensor:
    """The first `keep` inputs of a loader, (keep, *X)."""
    parts: list[Tensor] = []
    for batch in loader:
        parts.append(inputs_of(batch).detach().cpu())
        if sum(map(len, parts)) >= keep:
            break
    if not parts:
        raise BadInput("CollapseWatch found no batch to look at; give the Trainer a loader that can be read again")
    return torch.cat(parts)[:keep]


def inputs_of(batch: Any) -> Tensor:
    """The inputs of a batch: itself, its first part, or what its keys call the inputs."""
    if isinstance(batch, Mapping):
        batch = pair_of(batch)
    found: Tensor = batch[0] if isinstance(batch, tuple | list) else batch
    return found


def board(trainer: Any) -> Any:
    """The TensorBoard writer among the loggers, or None."""
    return next((one.experiment for one in trainer.loggers if hasattr(one.experiment, "add_image")), None)
