"""The likelihood of the data, by importance sampling from the posterior."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Size, Tensor
from torch.distributions import Distribution, Independent, Normal

from uncollapse.codes import batches_of, evaluation
from uncollapse.distributions import check_observed
from uncollapse.draw import Model
from uncollapse.errors import BadInput, NonFinite, ShapeError
from uncollapse.metrics.estimate import Estimate, mean_estimate
from uncollapse.metrics.pareto import effective_samples, pareto_shape

__all__ = ["NLL", "nll"]

BLOCK = 64  #: examples encoded at once; fixed, so that nothing depends on `chunk`
HEAVY, MANY = 0.7, 0.1  #: Pareto shape from which a tail is heavy, share of examples from which that is told


class NLL(Estimate):
    """Negative log likelihood in nats, with the health of the weights behind it.

    Attributes:
        per_example: (N,) nats.
        ess: (N,) effective number of samples.
        pareto_k: (N,) tail shape of the weights; NaN below 21 samples.
        samples: K.
    """

    per_example: Tensor
    ess: Tensor
    pareto_k: Tensor
    samples: int


def nll(model: Model, x: Any, samples: int = 500, seed: int = 0, chunk: int = 512) -> NLL:
    r"""Importance-weighted bound of the negative log likelihood.

    $-\frac1N\sum_i \log \frac1K \sum_{k=1}^K \frac{p(x_i|z_{ik})\,p(z_{ik})}{q(z_{ik}|x_i)}$, $z_{ik} \sim q_i$.
    Above the true value in expectation, and falling with K: compare only values of the same K.
    K = 1 is the negative ELBO with a sampled divergence.

    Arguments:
        model: anything with `posterior`, `likelihood` and `prior`.
        x: a tensor or array (N, *X), a pair (x, labels), a part of a data set, or batches.
        samples: K, drawn and decoded exactly, for every example.
        seed: the samples of example i depend on the seed and on i alone (on the batch too for posteriors
            that are not diagonal Gaussians).
        chunk: latent vectors decoded at once; bounds the memory and does not change the result.

    Returns:
        An `NLL`. Its flags tell the effective number of samples, and how many examples have a Pareto shape
        above 0.7 when more than a tenth do.

    Raises:
        BadInput: when the data are empty or an argument is out of range.
        ShapeError: when the likelihood does not have the shape of x.
        NonFinite: when a log weight is NaN.

    References:
        Burda, Grosse, Salakhutdinov, 2015, https://arxiv.org/abs/1509.00519, eq. 8.

    Example:
        >>> model = uncollapse.VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4)
        >>> bound = nll(model, torch.rand(10, 16).round(), samples=50)
        >>> bound.n, bound.unit, bound.ess.shape
        (10, 'nats', torch.Size([10]))
    """
    for name, value in (("samples", samples), ("chunk", chunk)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise BadInput(f"{name} should be a positive whole number, got {value!r}")
    values, sizes, shapes = [], [], []
    with evaluation(model, seed):
        for weights in blocks_of_weights(model, x, samples, seed, chunk):
            values.append(math.log(samples) - weights.logsumexp(1))
            sizes.append(effective_samples(weights))
            shapes.append(pareto_shape(weights))
    if not values:
        raise BadInput("the data hold no example; at least one is needed")
    return summarised(torch.cat(values), torch.cat(sizes), torch.cat(shapes), samples)


def summarised(values: Tensor, ess: Tensor, pareto_k: Tensor, samples: int) -> NLL:
    """The estimate with its flags."""
    flags = []
    if samples > 1:
        flags.append(f"effective samples: median {ess.median():.3g}, least {ess.min():.2g} of {samples}")
    heavy = float((pareto_k > HEAVY).double().mean())
    if heavy > MANY:
        flags.append(f"Pareto k above {HEAVY} for {heavy:.0%} of examples")
    mean = mean_estimate(values, "nats")
    found = NLL(mean.value, mean.se, mean.n, mean.unit, tuple(flags))
    found.per_example, found.ess, found.pareto_k, found.samples = values, ess, pareto_k, samples
    return found


def blocks_of_weights(model: Model, data: Any, samples: int, seed: int, chunk: int) -> Iterator[Tensor]:
    """Log importance weights (B, K) of one block of examples after another, nats, on the CPU."""
    first = 0
    for x, _ in batches_of(data, BLOCK, model):
        for block in torch.split(x, BLOCK):
            q, prior = model.posterior(block), model.prior()
            z = samples_of(q, samples, seed, first)
            weights = torch.cat([log_weights(model, q, prior, block, part) for part in pieces(z, chunk)])
            if weights.isnan().any():
                bad = int(weights.isnan().any(0).nonzero()[0]) + first
                raise NonFinite(f"a log importance weight of example {bad} is NaN; look at its posterior and decoder")
            yield weights.T
            first += len(block)


def log_weights(model: Model, q: Distribution, prior: Distribution, x: Tensor, z: Tensor) -> Tensor:
    """Log importance weights (K, B) of samples z (K, B, D) for examples x (B, *X), nats."""
    px = model.likelihood(z)
    if px.event_shape != x.shape[1:]:
        raise ShapeError(f"the decoder describes {tuple(px.event_shape)}, but x is {tuple(x.shape[1:])}")
    check_observed(px, float(x.min()), float(x.max()))
    log_px: Tensor = px.log_prob(x)
    return (log_px.double() + prior.log_prob(z).double() - q.log_prob(z).double()).cpu()


def pieces(z: Tensor, chunk: int) -> Iterator[Tensor]:
    """Parts of z (K, B, D) along K, each of at most `chunk` vectors where B allows it."""
    yield from torch.split(z, max(1, chunk // z.shape[1]))


def samples_of(q: Distribution, samples: int, seed: int, first: int) -> Tensor:
    """Samples (K, B, D) of a block of posteriors whose first example has the number `first`."""
    base = q.base_dist if isinstance(q, Independent) else q
    if not isinstance(base, Normal):
        torch.manual_seed(hash((seed, first)) % 2**63)  # inside `evaluation`, which puts the stream back
        return q.sample(Size((samples,)))
    latent = base.loc.shape[1]
    noise = np.empty((samples, len(base.loc), latent), dtype=np.float32)
    for i in range(len(base.loc)):
        # A counter-based generator per example: streams cannot meet, whatever the seeds.
        generator = np.random.Generator(np.random.Philox(key=[seed % 2**63, first + i]))
        noise[:, i] = generator.standard_normal((samples, latent), dtype=np.float32)
    return base.loc + base.scale * torch.from_numpy(noise).to(base.loc)
