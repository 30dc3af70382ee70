"""Small pictures for the page: originals, reconstructions and samples of the prior, as compressed bytes."""

import base64
import zlib
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from uncollapse.codes import device_of, evaluation
from uncollapse.data import DataSet
from uncollapse.draw import VAE
from uncollapse.errors import Unsupported

__all__ = ["pictures", "prior_samples"]


def prior_samples(model: VAE, count: int, seed: int, chunk: int = 512) -> Tensor:
    """`count` observations x ~ p(x|z), z ~ p(z), on the CPU, (count, *X)."""
    out = []
    with evaluation(model, seed):
        for start in range(0, count, chunk):
            z = model.prior().sample(torch.Size((min(chunk, count - start),))).to(device_of(model))
            out.append(model.likelihood(z).sample().cpu())
    return torch.cat(out)


def reconstructions(model: VAE, x: Tensor, seed: int) -> Tensor:
    """What the decoder makes of the posterior mean: its mean, or a sample where the mean cannot be had."""
    with evaluation(model, seed):
        px = model.likelihood(model.posterior(x.to(device_of(model))).mean)
        return expected(px).cpu()


def expected(px: Distribution) -> Tensor:
    """The mean of a likelihood; a sample for an autoregressive one."""
    try:
        return px.mean
    except (NotImplementedError, Unsupported):
        return px.sample()


def pictures(model: VAE, data: DataSet, generated: Tensor, count: int, seed: int) -> dict[str, Any] | None:
    """Originals, reconstructions and samples as {shape, data}; None when the data are not images."""
    if len(data.shape) != 3 or data.shape[0] not in (1, 3) or count < 1:
        return None
    x = data.test.tensor()[:count]
    kinds = {"originals": x, "reconstructions": reconstructions(model, x, seed), "samples": generated[:count]}
    return {name: packed(images) for name, images in kinds.items()}


def packed(images: Tensor) -> dict[str, Any]:
    """Images in [0, 1] as base64 of compressed bytes."""
    values = (images.clamp(0, 1) * 255).round().to(torch.uint8).contiguous()
    data = base64.b64encode(zlib.compress(values.numpy().tobytes(), 9)).decode()
    return {"shape": list(values.shape), "data": data}
