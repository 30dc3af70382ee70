"""Whether the decoder uses the code: what a wrong code costs the likelihood."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from uncollapse.codes import Codes, batches_of, evaluation, private_stream, tabulate
from uncollapse.draw import Model, described
from uncollapse.errors import BadInput, NonFinite
from uncollapse.metrics.densities import log_likelihood
from uncollapse.metrics.estimate import Estimate, mean_estimate

__all__ = ["shuffle_gap"]


def shuffle_gap(model: Model, data: Any, seed: int = 0, batch_size: int = 512, codes: Codes | None = None) -> Estimate:
    r"""Mean loss of log likelihood when every example is decoded from the code of another one.

    $\frac1N\sum_i \big[\log p(x_i|z_i) - \log p(x_i|z_{\pi(i)})\big]$, with $\pi(i) \neq i$ for every i, over
    the whole set. Near 0 the decoder ignores z, whatever the encoder put into it.

    Arguments:
        model: anything with `posterior` and `likelihood`.
        data: a tensor or array (N, *X), a pair (x, labels), a part of a data set, or batches that can be read twice.
        seed: of the samples and of the permutation.
        batch_size: examples per pass; the result does not depend on it.
        codes: `Codes.of` the same model and data, row by row, where they are at hand: then nothing is encoded. Their
            samples are used, so `seed` is that of the permutation alone.

    Returns:
        Nats per example, with a standard error over the examples.

    Raises:
        BadInput: when there are fewer than two examples or not as many codes, or the batches cannot be read again.
        ShapeError: when the likelihood does not have the shape of x.
        NonFinite: when a likelihood is NaN or infinite.

    Example:
        >>> model = uncollapse.VAE(nn.Linear(4, 4), nn.Linear(2, 4), latent=2)
        >>> shuffle_gap(model, torch.rand(50, 4)).unit
        'nats'
    """
    known = codes is not None or ordered(data)
    codes = Codes.of(model, data, batch_size, seed) if codes is None else codes
    other = codes.sample[derangement(len(codes), seed)]
    return gap(model, data, codes.sample if known else None, other, seed, batch_size, "shuffle_gap")


def ordered(data: Any) -> bool:
    """Whether data come in the same order every time they are read; a loader may shuffle."""
    return isinstance(data, Tensor | np.ndarray | tuple) or hasattr(data, "batches")


def gap(model: Model, data: Any, own: Tensor | None, other: Tensor, seed: int, batch_size: int, user: str) -> Estimate:
    """Mean loss of log likelihood when z_i (row i of `own`; encoded again if None) is replaced by row i of `other`."""
    gaps: list[Tensor] = []
    start = 0
    with evaluation(model, seed):
        for x, _ in batches_of(data, batch_size, model):
            stop = start + len(x)
            # A loader that shuffles gives other examples this time. Otherwise only the type of z is looked at.
            q = model.posterior(x if own is None else x[:1])
            mine = tabulate(q, start, seed)[2] if own is None else own[start:stop]
            if len(mine) != len(x) or stop > len(other):
                raise BadInput(f"{user} got {len(other)} codes for more examples; pass the codes of these very data")
            # In two passes of one shape: products round by the place of a row, and equal codes have a gap of 0.
            pair = (z.to(x.device, q.mean.dtype) for z in (mine, other[start:stop]))
            right, wrong = (log_likelihood(described(model.likelihood(z[None]), x), x)[0] for z in pair)
            gaps.append(right - wrong)
            if not gaps[-1].isfinite().all():
                raise NonFinite(
                    f"{user} needs finite likelihoods, got NaN or infinite ones; look at the decoder's noise"
                )
            start = stop
    if start != len(other):
        raise BadInput(
            f"{user} reads the data twice and got {start} examples for {len(other)} codes; pass a list or a loader, "
            "and the codes of these very data"
        )
    return mean_estimate(torch.cat(gaps).cpu(), "nats")


def derangement(n: int, seed: int) -> Tensor:
    """A random cyclic permutation of n >= 2 items, (n,): no item stays in its place."""
    order = torch.randperm(n, generator=private_stream(seed, "derangement"))
    out = torch.empty_like(order)
    out[order] = order.roll(1)
    return out
