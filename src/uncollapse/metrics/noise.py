"""How much noise on the code the decoder bears: a decoder that magnifies small steps loses its likelihood quickly."""

import math
from typing import Any

import torch

from uncollapse.codes import Codes, private_stream
from uncollapse.draw import Model
from uncollapse.errors import BadInput
from uncollapse.metrics.estimate import Estimate
from uncollapse.metrics.shuffle import gap, ordered

__all__ = ["noise_gap"]


def noise_gap(
    model: Model, data: Any, variance: float, seed: int = 0, batch_size: int = 512, codes: Codes | None = None
) -> Estimate:
    r"""Mean loss of log likelihood when noise is added to every code before it is decoded.

    $\frac1N\sum_i \big[\log p(x_i|z_i) - \log p(x_i|z_i + \varepsilon_i)\big]$,
    $\varepsilon_i \sim \mathcal N(0, s^2 I)$. Near 0 at $s^2 = 1$ the decoder ignores z, or the codes lie much farther
    apart than the prior: read the mismatch part of `kl` beside it.

    Arguments:
        model: anything with `posterior` and `likelihood`.
        data: as for `shuffle_gap`.
        variance: $s^2$, in squared units of z (the prior has 1).
        seed: of the samples and of the noise, which is the same at every variance but for its size.
        batch_size: examples per pass; the result does not depend on it.
        codes: as for `shuffle_gap`.

    Returns:
        Nats per example, with a standard error over the examples; exactly 0 at variance 0.

    Raises:
        BadInput: for a negative variance, or batches that cannot be read again.

    References:
        Song, Kim, Lee, 2025, https://arxiv.org/abs/2508.12530 (the noise test of LR-VAE, $s^2$ from 0 to 1).

    Example:
        >>> model = uncollapse.VAE(nn.Linear(4, 4), nn.Linear(2, 4), latent=2)
        >>> float(noise_gap(model, torch.rand(50, 4), variance=0.0))
        0.0
    """
    if isinstance(variance, bool) or not isinstance(variance, int | float) or not 0 <= variance < math.inf:
        raise BadInput(f"the variance of the noise should be a finite number of at least 0, got {variance!r}")
    known = codes is not None or ordered(data)
    own = (Codes.of(model, data, batch_size, seed) if codes is None else codes).sample
    noise = torch.randn(own.shape, generator=private_stream(seed, "noise"), dtype=own.dtype)
    other = own + math.sqrt(variance) * noise
    return gap(model, data, own if known else None, other, seed, batch_size, "noise_gap")
