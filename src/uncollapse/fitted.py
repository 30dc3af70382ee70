"""What training leaves behind."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from uncollapse.objective import Objective

__all__ = ["Fit"]


@dataclass(repr=False)
class Fit:
    """What training left behind.

    Attributes:
        model, objective: the trained modules, holding the weights that `keep` asked for.
        history: one record a validation: step, epoch, mean terms of training and validation, and what `watch` gave.
        best: state dict of the model at the best validation score.
        best_step: batches trained until then.
        steps: batches trained in all.
        stopped: why training ended.
        precision: "32" or "bf16", as used.
        seconds: time spent training, resumed parts included.
        folder: where the run was kept, or None.
        processes: how many shared every batch.
        remarks: what else there is to know of how the run was made, such as why it was not compiled.
    """

    model: nn.Module
    objective: Objective
    history: list[dict[str, Any]]
    best: dict[str, Tensor]
    best_step: int
    steps: int
    stopped: str
    precision: str
    seconds: float
    folder: Path | None
    remarks: list[str] = field(default_factory=list)
    processes: int = 1

    def __repr__(self) -> str:
        score = self.history[-1]["valid"]["score"] if self.history else math.nan
        return (
            f"Fit({self.steps} batches in {self.seconds:.1f} s, best at {self.best_step}, "
            f"last validation score {score:.3f} nats, stopped: {self.stopped})"
        )
