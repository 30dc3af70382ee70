"""Small pictures for the page: originals, reconstructions and samples of the prior, as compressed bytes."""

from typing import Any

import torch
from torch import Tensor

from uncollapse.codes import device_of, evaluation
from uncollapse.data import DataSet
from uncollapse.draw import VAE
from uncollapse.errors import Unsupported
from uncollapse.plain import packed

__all__ = ["pictures", "prior_samples"]


def prior_samples(model: VAE, count: int, seed: int, chunk: int = 512) -> Tensor:
    """`count` observations x ~ p(x|z), z ~ p(z), on the CPU, (count, *X)."""
    out = []
    with evaluation(model, seed):
        for start in range(0, count, chunk):
            z = model.prior().sample(torch.Size((min(chunk, count - start),))).to(device_of(model))
            out.append(model.likelihood(z).sample().cpu())
    return torch.cat(out)


def reconstructions(model: VAE, x: Tensor, seed: int, draws: int = 64) -> Tensor:
    """The mean of p(x|z) at the posterior mean, (B, *X): what the code alone says about the input.

    An autoregressive likelihood has no closed mean; there it is the average of `draws` samples. One sample would not
    do: it looks like a digit whatever z says.
    """
    with evaluation(model, seed):
        z = model.posterior(x.to(device_of(model))).mean
        try:
            return model.likelihood(z).mean.cpu()
        except (NotImplementedError, Unsupported):
            return model.likelihood(z.expand(draws, *z.shape)).sample().mean(0).cpu()


def pictures(model: VAE, data: DataSet, generated: Tensor, count: int, seed: int) -> dict[str, Any] | None:
    """Originals, reconstructions and samples as {shape, data}; None when the data are not images."""
    if len(data.shape) != 3 or data.shape[0] not in (1, 3) or count < 1:
        return None
    x = data.test.tensor()[:count]
    kinds = {"originals": x, "reconstructions": reconstructions(model, x, seed), "samples": generated[:count]}
    return {name: packed(images) for name, images in kinds.items()}
