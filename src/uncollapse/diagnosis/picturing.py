"""What the page draws: a map of the codes, per-input numbers, and what the decoder makes of right and wrong codes."""

from typing import Any

import torch
from torch import Tensor

from uncollapse.codes import evaluation
from uncollapse.diagnosis.rooms import rooms
from uncollapse.diagnosis.subject import SHARE, Evidence, Subject
from uncollapse.errors import UncollapseError, Unsupported
from uncollapse.metrics.information import information_per_example
from uncollapse.metrics.local import TAU
from uncollapse.plain import packed

__all__ = ["images", "local_table"]

POINTS = 2000  #: of the map
PICTURES = 16
DRAWS, FEWEST = 16, 4  #: samples behind a picture of a decoder without a mean


def local_table(subject: Subject, evidence: Evidence) -> dict[str, Any] | None:
    """Per input of a sample: information, KL, the decoder's room epsilon(x), label, and a place on a flat map."""
    rows = torch.linspace(0, len(subject.codes) - 1, min(POINTS, len(subject.codes))).long()
    if len(subject.rows):
        rows = subject.rows[:POINTS]
    codes = subject.codes
    if len(rows) < 3:
        return None
    place, share = projected(codes.mean[rows].double())
    information = information_per_example(codes, rows, samples=4, seed=subject.seed)
    kl = codes.kl[rows].double().sum(1)
    local = rooms(subject)
    room = None if isinstance(local, str) else local
    labels = None
    if codes.labels is not None:
        labels = [subject.names[int(y)] if subject.names else f"{y.item():g}" for y in codes.labels[rows]]
    return {
        "rows": rows.tolist(), "information": information.clamp(min=0).tolist(), "kl": kl.tolist(),
        "epsilon": None if room is None else room.epsilon.tolist(), "label": labels,
        "map": place.tolist(), "map_share": share, "tau": TAU if room is None else room.tau,
        "collapsed_share": None if room is None else float(room.collapsed),
        "collapsed_by_information": None if room is None else float(room.collapsed_by_information),
    }  # fmt: skip


def projected(mean: Tensor) -> tuple[Tensor, float]:
    """The first two principal components (M, 2) of the means, and the share of their variance that these show."""
    centred = mean - mean.mean(0)
    if centred.shape[1] == 1:
        return torch.cat([centred, torch.zeros_like(centred)], 1), 1.0
    _, values, right = torch.linalg.svd(centred, full_matrices=False)
    total = float(values.square().sum())
    return centred @ right[:2].T, float(values[:2].square().sum()) / total if total > 0 else 0.0


def images(subject: Subject) -> dict[str, Any] | None:
    """Originals, what their own codes decode to, and what the codes of others do; None when the data are no images."""
    shape = subject.x.shape[1:]
    if len(subject.x) < 2 or len(shape) != 3 or shape[0] not in (1, 3) or not subject.adapted.decodes:
        return None
    x = subject.x[:PICTURES].float()
    low, high = min(0.0, float(x.min())), max(1.0, float(x.max()))
    try:
        with evaluation(subject.module, subject.seed):
            z = subject.model.posterior(subject.x[:PICTURES]).mean
            right, wrong = (decoded(subject, one) for one in (z, z.roll(1, 0)))
    except Exception:  # somebody's decoder may raise anything
        return None
    named = {"originals": x, "reconstructions": right, "shuffled": wrong}
    return {name: packed((one.float() - low) / (high - low)) for name, one in named.items()}


def decoded(subject: Subject, z: Tensor) -> Tensor:
    """The mean of p(x|z), or the average of a few samples where the mean cannot be had.

    One sample would not do: what an autoregressive decoder draws looks like the data whatever z says.

    Raises:
        Unsupported: when so many samples, one pass of the decoder for every pixel, take too long.
    """
    try:
        return subject.model.likelihood(z).mean
    except (NotImplementedError, UncollapseError):
        pass
    passes = 2 * len(z) * subject.x[0].numel()
    draws = int(min(DRAWS, SHARE * subject.budget.seconds / max(subject.pace * passes, 1e-12)))
    if draws < FEWEST:
        raise Unsupported("sampling the decoder part by part would take too long for pictures")
    return subject.model.likelihood(z.expand(draws, *z.shape)).sample().float().mean(0)
