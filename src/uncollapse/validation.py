"""What is asked of a model before training, and what it is scored by along the way."""

from typing import Any

import torch
from torch import nn

from uncollapse.codes import evaluation
from uncollapse.data import DataSet, Part
from uncollapse.distributions import check_observed
from uncollapse.draw import draw
from uncollapse.errors import NonFinite
from uncollapse.objective import Objective
from uncollapse.plan import Settings, derive, even_pieces

__all__ = ["check_range", "scores"]


def check_range(model: Any, data: DataSet) -> None:
    """Refuse a decoder that does not describe the data, and values that its likelihood has no probability for."""
    with evaluation(model, 0):
        one = draw(model, data.train.take(torch.arange(2), next(model.parameters(), torch.empty(0)).device))
    check_observed(one.px, *data.train.range)


def scores(model: Any, objective: Objective, part: Part, plan: Settings, engine: Any) -> dict[str, float]:
    """Mean distortion, KL and score of a part (see `Objective.score`), nats; the noise is the same every time."""
    totals = torch.zeros(3, dtype=torch.float64)
    with evaluation(nn.ModuleList([model, objective]), derive(plan.seed, "validation")), engine.autocast():
        for indices in even_pieces(len(part), plan.batch_size):
            one = draw(model, part.take(indices, engine.device), keep=objective.keeps)
            values = (-one.log_px.mean(0), one.kl.sum(1), objective.score(one, model))
            totals += torch.stack([value.double().sum() for value in values]).cpu()
    if not totals.isfinite().all():
        raise NonFinite(
            "the validation score is NaN or infinite although the training loss is finite; "
            "lower the learning rate or set clip="
        )
    return dict(zip(("distortion", "rate", "score"), (totals / len(part)).tolist(), strict=True))
