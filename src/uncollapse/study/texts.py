"""Lines for people to read: what a text model reconstructs, writes, and says on the way from one text to another."""

import torch
from torch import Tensor

from uncollapse.codes import device_of, evaluation
from uncollapse.data import DataSet, decode
from uncollapse.draw import VAE

__all__ = ["texts"]

STEPS = 7  #: texts on the way, both ends included


def texts(model: VAE, data: DataSet, count: int, seed: int) -> dict[str, list[str]] | None:
    """Originals, greedy reconstructions from the posterior's mean, samples, interpolations; None without tokens.

    Arguments:
        model: its likelihood writes text (`sample` and `greedy`, as `nets.Sentences` has).
        data: tokens with a vocabulary.
        count: lines of each kind; interpolations run between the first two test examples.
        seed: of the samples.
    """
    if data.likelihood != "tokens" or count < 1:
        return None
    x = data.test.head(count).tensor()
    with evaluation(model, seed):
        device = device_of(model)
        means = model.posterior(x.to(device)).mean
        way = torch.linspace(0, 1, STEPS, device=device)[:, None]
        between = means[0] + way * (means[1] - means[0])
        fresh = model.prior().sample(torch.Size((count,))).to(device)
        found = {
            "originals": x,
            "reconstructions": greedy(model, means),
            "samples": model.likelihood(fresh).sample(),
            "interpolation": greedy(model, between),
        }
    return {kind: decode(rows.cpu(), data.vocabulary, data.between) for kind, rows in found.items()}


def greedy(model: VAE, z: Tensor) -> Tensor:
    """The likeliest next token at every place in turn, (N, T)."""
    rows: Tensor = model.likelihood(z).greedy()  # type: ignore[attr-defined]
    return rows
