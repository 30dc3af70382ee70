"""The likelihood of the data, by importance sampling from the posterior."""

import math
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from uncollapse.codes import batches_of, device_of, evaluation
from uncollapse.distributions import check_observed
from uncollapse.draw import Model, described
from uncollapse.errors import BadInput, NonFinite
from uncollapse.metrics.densities import Draws, log_likelihood, workers
from uncollapse.metrics.estimate import Estimate, mean_estimate
from uncollapse.metrics.pareto import effective_samples, pareto_shape

__all__ = ["NLL", "nll"]

BLOCK = 64  #: examples encoded at once; fixed, so that nothing depends on `chunk`
ROWS, DEVICE_ROWS = 512, 8192  #: vectors decoded at once on the CPU, where they stay in its cache, and elsewhere
TOLD = 8  #: examples by which the error of bfloat16 is told
HEAVY, MANY = 0.7, 0.1  #: Pareto shape from which a tail is heavy, share of examples from which that is told

Item = TypeVar("Item")


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


def nll(
    model: Model, x: Any, samples: int = 500, seed: int = 0, chunk: int | None = None, precision: str = "32"
) -> NLL:
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
        chunk: latent vectors decoded at once; bounds the memory and does not change the result. If None, 512 on the
            CPU, where they stay in its cache, and 8,192 elsewhere.
        precision: "32" decodes in the model's own type; "bf16" decodes in bfloat16 where torch's autocast does, and a
            flag tells by how much that shifts the bound of the first 8 examples. All sums are in float64.

    Returns:
        An `NLL`. Its flags tell the effective number of samples, and how many examples have a Pareto shape
        above 0.7 when more than a tenth do.

    Raises:
        BadInput: when the data are empty or an argument is out of range.
        ShapeError: when the likelihood does not have the shape of x.
        NonFinite: when a log weight is NaN, or an example has no weight at all: no number of nats describes that.

    References:
        Burda, Grosse, Salakhutdinov, 2015, https://arxiv.org/abs/1509.00519, eq. 8.

    Example:
        >>> model = uncollapse.VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4)
        >>> bound = nll(model, torch.rand(10, 16).round(), samples=50)
        >>> bound.n, bound.unit, bound.ess.shape
        (10, 'nats', torch.Size([10]))
    """
    check_arguments(samples, chunk, precision)
    values: list[Tensor] = []
    sizes, shapes, seen = [], [], 0
    with evaluation(model, seed):
        for weights in blocks_of_weights(model, x, samples, seed, chunk, precision):
            values.append(finite(bound(weights), seen))
            sizes.append(effective_samples(weights))
            shapes.append(pareto_shape(weights))
            seen += len(weights)
        if not values:
            raise BadInput("the data hold no example; at least one is needed")
        flags = (shift(model, x, values[0], samples, seed, chunk),) if precision == "bf16" else ()
    return summarised(torch.cat(values), torch.cat(sizes), torch.cat(shapes), samples, flags)


def check_arguments(samples: int, chunk: int | None, precision: str) -> None:
    """Refuse arguments that make no sense."""
    for name, value in (("samples", samples), ("chunk", 1 if chunk is None else chunk)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise BadInput(f"{name} should be a positive whole number, got {value!r}")
    if precision not in ("32", "bf16"):
        raise BadInput(f'precision should be "32" or "bf16", got {precision!r}')


def bound(weights: Tensor) -> Tensor:
    """The importance-weighted bound (B,) from log weights (B, K), nats."""
    return math.log(weights.shape[1]) - weights.logsumexp(1)


def finite(values: Tensor, first: int) -> Tensor:
    """The bounds (B,) of the examples from number `first` on.

    Raises:
        NonFinite: when one of them is infinite.
    """
    bad = (~values.isfinite()).nonzero()
    if len(bad):
        raise NonFinite(
            f"the likelihood gives example {int(bad[0]) + first} probability 0, or an infinite density, at every "
            "sample of its posterior; look at the example and at the noise of the likelihood"
        )
    return values


def shift(model: Model, data: Any, found: Tensor, samples: int, seed: int, chunk: int | None) -> str:
    """By how much bfloat16 has moved the bounds of a few examples, in words."""
    x = next(batches_of(data, TOLD, model))[0][:TOLD]
    exact = bound(next(blocks_of_weights(model, [x], samples, seed, chunk, "32")))
    moved = mean_estimate(found[: len(exact)] - exact, "nats")
    return f"bf16: off by {moved.value:+.2g} ± {moved.se:.1g} nats on {moved.n} examples"


def summarised(values: Tensor, ess: Tensor, pareto_k: Tensor, samples: int, flags: tuple[str, ...]) -> NLL:
    """The estimate with its flags."""
    told = list(flags)
    if samples > 1:
        told.append(f"effective samples: median {ess.median():.3g}, least {ess.min():.2g} of {samples}")
    heavy = float((pareto_k > HEAVY).double().mean())
    if heavy > MANY:
        told.append(f"Pareto k above {HEAVY} for {heavy:.0%} of examples")
    mean = mean_estimate(values, "nats")
    found = NLL(mean.value, mean.se, mean.n, mean.unit, tuple(told))
    found.per_example, found.ess, found.pareto_k, found.samples = values, ess, pareto_k, samples
    return found


def blocks_of_weights(
    model: Model, data: Any, samples: int, seed: int, chunk: int | None, precision: str
) -> Iterator[Tensor]:
    """Log importance weights (B, K) of one block of examples after another, nats, on the CPU."""
    device, first = device_of(model), 0
    rows = chunk or (ROWS if device.type == "cpu" else DEVICE_ROWS)
    with workers(device) or nullcontext() as pool:
        for block, draws in ahead(blocks_of_draws(model, data, samples, seed, pool)):
            weights = log_weights(model, draws, block, rows, precision == "bf16").cpu()
            if weights.isnan().any():
                bad = int(weights.isnan().any(0).nonzero()[0]) + first
                raise NonFinite(f"a log importance weight of example {bad} is NaN; look at its posterior and decoder")
            yield weights.T
            first += len(block)


def blocks_of_draws(
    model: Model, data: Any, samples: int, seed: int, pool: Executor | None
) -> Iterator[tuple[Tensor, Draws]]:
    """One block of examples (B, *X) after another, with the samples of their posteriors."""
    first = 0
    for x, _ in batches_of(data, BLOCK, model):
        for block in torch.split(x, BLOCK):
            yield block, Draws(model.posterior(block), samples, seed, first, pool)
            first += len(block)


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, each asked for while the one before is still in use: its noise is drawn in the meantime."""
    last = next(items, None)
    for item in items:
        assert last is not None
        yield last
        last = item
    if last is not None:
        yield last


def log_weights(model: Model, draws: Draws, x: Tensor, rows: int, half: bool) -> Tensor:
    """Log importance weights (K, B) of the draws for examples x (B, *X), nats; the device is not waited for."""
    found: list[Tensor] = []
    with torch.autocast(x.device.type, torch.bfloat16) if half else nullcontext():
        for z, ratio in draws.pieces(model.prior(), rows):
            px = model.likelihood(z)
            if not found:
                check_fit(px, x)
            found.append(log_likelihood(px, x) + ratio)
    return torch.cat(found)


def check_fit(px: Distribution, x: Tensor) -> None:
    """Refuse examples x (B, *X) that the likelihood does not describe, or to which it gives no probability."""
    check_observed(described(px, x), float(x.min()), float(x.max()))
