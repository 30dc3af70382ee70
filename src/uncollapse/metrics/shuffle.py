"""Whether the decoder uses the code: what a wrong code costs the likelihood."""

from typing import Any

import torch
from torch import Tensor

from uncollapse.codes import Codes, batches_of, evaluation, private_stream, tabulate
from uncollapse.draw import Model
from uncollapse.errors import BadInput, ShapeError
from uncollapse.metrics.estimate import Estimate, mean_estimate

__all__ = ["shuffle_gap"]


def shuffle_gap(model: Model, data: Any, seed: int = 0, batch_size: int = 512) -> Estimate:
    r"""Mean loss of log likelihood when every example is decoded from the code of another one.

    $\frac1N\sum_i \big[\log p(x_i|z_i) - \log p(x_i|z_{\pi(i)})\big]$, with $\pi(i) \neq i$ for every i, over
    the whole set. Near 0 the decoder ignores z, whatever the encoder put into it.

    Arguments:
        model: anything with `posterior` and `likelihood`.
        data: a tensor or array (N, *X), a pair (x, labels), a part of a data set, or batches that can be read twice.
        seed: of the samples and of the permutation.
        batch_size: examples per pass; the result does not depend on it.

    Returns:
        Nats per example, with a standard error over the examples.

    Raises:
        BadInput: when there are fewer than two examples, or the batches cannot be read again.
        ShapeError: when the likelihood does not have the shape of x.

    Example:
        >>> model = uncollapse.VAE(nn.Linear(4, 4), nn.Linear(2, 4), latent=2)
        >>> shuffle_gap(model, torch.rand(50, 4)).unit
        'nats'
    """
    codes = Codes.of(model, data, batch_size, seed)
    other = codes.sample[derangement(len(codes), seed)]
    return gap(model, data, other, seed, batch_size, "shuffle_gap")


def gap(model: Model, data: Any, other: Tensor, seed: int, batch_size: int, user: str) -> Estimate:
    """Mean loss of log likelihood when z_i is replaced by row i of `other` (N, D)."""
    gaps: list[Tensor] = []
    start = 0
    with evaluation(model, seed):
        for x, _ in batches_of(data, batch_size, model):
            q = model.posterior(x)
            # Sampled again rather than looked up: a loader that shuffles gives other examples this time.
            pair = torch.stack([tabulate(q, start, seed)[2], other[start : start + len(x)]])
            px = model.likelihood(pair.to(x.device, q.mean.dtype))
            if px.event_shape != x.shape[1:]:
                raise ShapeError(
                    f"the decoder describes observations of shape {tuple(px.event_shape)}, but x has "
                    f"{tuple(x.shape[1:])}; wrap a distribution of single numbers in Independent, or reshape its output"
                )
            right, wrong = px.log_prob(x).double().cpu()
            gaps.append(right - wrong)
            start += len(x)
    if start != len(other):
        raise BadInput(f"{user} reads the data twice and got nothing the second time; pass a list or a loader")
    return mean_estimate(torch.cat(gaps), "nats")


def derangement(n: int, seed: int) -> Tensor:
    """A random cyclic permutation of n >= 2 items, (n,): no item stays in its place."""
    order = torch.randperm(n, generator=private_stream(seed, "derangement"))
    out = torch.empty_like(order)
    out[order] = order.roll(1)
    return out
