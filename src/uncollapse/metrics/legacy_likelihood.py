r"""What papers and their code have called the negative log likelihood, and LR-VAE's stretch of a decoder.

None of the likelihoods is the importance-weighted bound `metrics.nll`; each says in its flags what it is. Symbols: N
examples in all, B of a batch, K draws, $r_{ik} = -\log p(x_i|z_{ik})$, $z_{ik} \sim q_i$,
$d_i = \mathrm{KL}(q_i\|p)$ in closed form.

A paper's code often leaves out what does not depend on the weights. `constant` is what it leaves out, nats an example,
and is taken off: squared error over X numbers is a Gaussian of variance 1/2 without $\tfrac X2 \log\pi$.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from uncollapse.codes import Codes, batches_of, device_of, dtype_of, evaluation, private_stream
from uncollapse.distributions import kl_per_dimension
from uncollapse.draw import Model
from uncollapse.errors import BadInput, NonFinite, Unsupported
from uncollapse.metrics.densities import Draws, log_likelihood
from uncollapse.metrics.estimate import Estimate
from uncollapse.metrics.jacobian import whole
from uncollapse.metrics.likelihood import check_fit

__all__ = ["batch_mean_nll", "batch_summed_nll", "flat_nll", "negative_elbo", "pairwise_lipschitz"]

BLOCK = 64  #: examples that are encoded and decoded at once; the draws of an example do not depend on it
VECTORS = 4096  #: latent vectors decoded at once
LEAST = 1e-3  #: below which LR-VAE's code lets no distance and no ratio fall


class Terms(NamedTuple):
    """What a batch gives, nats: r and log p(z) - log q(z|x), (K, B) each, and d (B,), in float64 on the CPU."""

    distortion: Tensor
    ratio: Tensor
    kl: Tensor


def batch_summed_nll(
    model: Model, x: Any, samples: int = 50, batch: int = 50, constant: float = 0.0, seed: int = 0
) -> Estimate:
    r"""The NLL of Asokan's re-implementation of Forget-me-not: whole batches are weighed, not examples.

    $-\frac1N\sum_b \log\frac1K\sum_k \exp\big(\sum_{i \in b} (-r_{ik} - d_i)\big)$: a sum over the batch is dominated
    by its luckiest draw, and the share of the draws shrinks like $1/\sqrt B$, so that it falls to the negative ELBO for
    large batches. The importance weight of z is replaced by its expectation, so for B = 1 it is no bound at all.

    Arguments:
        model: anything with `posterior`, `likelihood` and `prior`, whose divergence has a closed form.
        x: a tensor or array (N, *X), a pair (x, labels), a part of a data set, or batches.
        samples: K.
        batch: B; the last batch may be smaller. 1,024, 50 and 64 for the toy, Omniglot and Yahoo there.
        constant: see above.
        seed: of the draws of every example.

    References:
        Asokan's re-implementation of Forget-me-not, https://github.com/abhijithasokan/forget-me-not-vae.

    Example:
        >>> model = uncollapse.VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4)
        >>> batch_summed_nll(model, torch.rand(10, 16).round(), batch=5).flags
        ('not a likelihood: 50 draws of the summed terms of batches of 5',)
    """
    values, sizes = [], []
    for one in terms_of(model, x, samples, batch, seed):
        total = (-one.distortion - one.kl).sum(1)
        values.append(math.log(samples) - float(total.logsumexp(0)))
        sizes.append(len(one.kl))
    return over(values, sizes, constant, f"not a likelihood: {samples} draws of the summed terms of batches of {batch}")


def batch_mean_nll(
    model: Model, x: Any, samples: int = 50, batch: int = 64, constant: float = 0.0, seed: int = 0
) -> Estimate:
    r"""The importance-weighted NLL of LIDVAE's image code, which averages over the batch before the logarithm.

    $-\log\frac1K\sum_k \exp\big(\frac1B\sum_i \log w_{ik}\big)$, $\log w_{ik} = -r_{ik} + \log p(z_{ik}) -
    \log q_i(z_{ik})$, the mean over batches weighted by their size: little but the negative ELBO, because a mean over
    the batch hardly varies from draw to draw.

    Arguments: as for `batch_summed_nll`.

    References:
        Wang, Blei, Cunningham, 2021, https://arxiv.org/abs/2301.00537, released code.

    Example:
        >>> model = uncollapse.VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4)
        >>> batch_mean_nll(model, torch.rand(10, 16).round(), batch=5).flags
        ('about the negative ELBO: mean over batches of 5 before the logarithm over 50 draws',)
    """
    values, sizes = [], []
    for one in terms_of(model, x, samples, batch, seed):
        mean = (one.ratio - one.distortion).mean(1)
        values.append((math.log(samples) - float(mean.logsumexp(0))) * len(one.kl))
        sizes.append(len(one.kl))
    flag = f"about the negative ELBO: mean over batches of {batch} before the logarithm over {samples} draws"
    return over(values, sizes, constant, flag)


def flat_nll(
    model: Model, x: Any, samples: int = 100, batch: int = 50, constant: float = 0.0, seed: int = 0
) -> Estimate:
    r"""The NLL of LR-VAE's code: one distortion for the whole batch, one logarithm over all its draws.

    $\bar r - \log\frac1K\sum_{i,k} \frac{p(z_{ik})}{q_i(z_{ik})}$, $\bar r$ the batch mean of the distortion of one
    further draw; the mean over batches. Nothing ties a weight to its example, and the sum over the batch is not divided
    by B: it may lie far below the negative log likelihood, and falls by log B for a collapsed posterior.

    Arguments: as for `batch_summed_nll`. There, $\bar r$ is the squared error; here it is what the model's likelihood
        says.

    References:
        Song, Kim, Lee, 2025, https://arxiv.org/abs/2508.12530, released code.

    Example:
        >>> model = uncollapse.VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4)
        >>> flat_nll(model, torch.rand(10, 16).round(), batch=5).flags
        ('not a likelihood: one distortion and one logarithm for batches of 5',)
    """
    values, number = [], 0
    for one in terms_of(model, x, whole("samples", samples) + 1, batch, seed):
        rest = one.ratio[1:].flatten().logsumexp(0) - math.log(samples)
        values.append(float(one.distortion[0].mean() - rest))
        number += len(one.kl)
    flag = f"not a likelihood: one distortion and one logarithm for batches of {batch}"
    found = over(values, [1] * len(values), constant, flag)
    return Estimate(found, found.se, number, found.unit, found.flags)


def negative_elbo(
    model: Model, x: Any, samples: int = 1, batch: int = 512, constant: float = 0.0, seed: int = 0
) -> Estimate:
    r"""What CR-VAE's code calls test loss: the negative ELBO with one draw, without the last, incomplete batch.

    $\frac1{N'}\sum_i \big(\frac1K\sum_k r_{ik} + d_i\big)$, N' the examples of full batches (all where there is none).

    Arguments: as for `batch_summed_nll`.

    References:
        Lygerakis, Rueckert, 2023, https://arxiv.org/abs/2309.02968, released code.

    Example:
        >>> model = uncollapse.VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4)
        >>> negative_elbo(model, torch.rand(10, 16).round(), batch=4).n
        8
    """
    parts = [one.distortion.mean(0) + one.kl for one in terms_of(model, x, samples, batch, seed)]
    full = [part for part in parts if len(part) == batch] or parts
    each = torch.cat(full)
    flag = f"negative ELBO with {samples} draw(s), not a likelihood"
    return over(each.tolist(), [1] * len(each), constant, flag)


def over(values: list[float], sizes: list[int], constant: float, flag: str) -> Estimate:
    """Sums of batches of some sizes as a mean per example, with the error between batches where there are several."""
    if not all(map(math.isfinite, values)):
        raise NonFinite(f"the {flag.split(':')[0]} of some examples is NaN or infinite; look at the likelihood's noise")
    total, number = math.fsum(values), sum(sizes)
    means = torch.tensor(values, dtype=torch.float64) / torch.tensor(sizes, dtype=torch.float64)
    se = float(means.std() / math.sqrt(len(means))) if len(means) > 1 else math.nan
    return Estimate(total / number - constant, se, number, "nats", (flag,))


def terms_of(model: Model, data: Any, samples: int, batch: int, seed: int) -> Iterator[Terms]:
    """The terms of one batch after another, in the order of the data."""
    first, found = 0, []
    whole("samples", samples), whole("batch", batch)
    with evaluation(model, seed):
        for x, _ in batches_of(data, batch, model):
            for rows in torch.split(x, batch):
                blocks = []
                for block in torch.split(rows, BLOCK):
                    blocks.append(block_terms(model, block, samples, seed, first))
                    first += len(block)
                parts = zip(*blocks, strict=True)
                found.append(Terms(*(torch.cat(part, -1) for part in parts)))
    if not found:
        raise BadInput("the data hold no example; at least one is needed")
    yield from found


def block_terms(model: Model, x: Tensor, samples: int, seed: int, first: int) -> Terms:
    """The terms of a few examples, of which the first has the number `first`."""
    q, prior = model.posterior(x), model.prior()
    kl = kl_per_dimension(q, prior)
    if kl is None:
        raise Unsupported("the papers' formulas need a divergence in closed form; take metrics.nll, which does not")
    distortion: list[Tensor] = []
    ratios: list[Tensor] = []
    for z, ratio in Draws(q, samples, seed, first).pieces(prior, VECTORS):
        px = model.likelihood(z)
        if not ratios:
            check_fit(px, x)
        distortion.append(-log_likelihood(px, x))
        ratios.append(ratio)
    return Terms(torch.cat(distortion).cpu(), torch.cat(ratios).cpu(), kl.double().sum(1).cpu())


def pairwise_lipschitz(
    model: Model | Callable[[Tensor], Tensor], codes: Codes | Tensor, pairs: int = 5000, seed: int = 0
) -> Estimate:
    r"""LR-VAE's L(z): the larger of the 95 % quantile of the decoder's stretch and one over its 5 % quantile.

    $\max(1/\max(Q_{.05}, 10^{-3}), Q_{.95})$ of $\lVert D(z) - D(z')\rVert / \lVert z - z'\rVert$ over random pairs of
    codes. Pairs lie anywhere in the data, so it is no local constant: a direction that the decoder ignores shows only
    if at least a twentieth of the pairs differ in it alone. It cannot exceed 1,000 from below, and a few codes drawn
    twice count as a stretch of 1. For local constants see `metrics.lipschitz`.

    Arguments:
        model: anything with `likelihood`, whose mean is D, or D itself, from z (M, D) to (M, *X).
        codes: `Codes`, of which the samples are taken, or points z (M, D).
        pairs: how many, drawn with replacement.
        seed: of their choice.

    Raises:
        BadInput: for fewer than two codes.

    References:
        Song, Kim, Lee, 2025, https://arxiv.org/abs/2508.12530, released code.

    Example:
        >>> round(pairwise_lipschitz(lambda z: 0.25 * z, torch.randn(500, 2)), 2)
        4.0
    """
    z = codes.sample if isinstance(codes, Codes) else codes
    if not isinstance(z, Tensor) or z.ndim != 2 or len(z) < 2:
        raise BadInput("pairwise_lipschitz needs at least two codes, as Codes or as points (M, D)")
    generator = private_stream(seed, "pairs")
    ends = torch.randint(len(z), (2, whole("pairs", pairs)), generator=generator)
    with evaluation(model, seed):
        at = z.to(device_of(model), dtype_of(model))
        images = torch.cat([decoded(model, part) for part in torch.split(at, VECTORS)]).cpu().double()
    moved, step = ((all_[ends[0]] - all_[ends[1]]).norm(dim=1).clamp(min=LEAST) for all_ in (images, at.cpu().double()))
    low, high = torch.quantile(moved / step, torch.tensor([0.05, 0.95], dtype=torch.float64)).tolist()
    flag = "quantiles over pairs, not a local constant"
    return Estimate(max(1 / max(low, LEAST), high), n=pairs, flags=(flag,))


def decoded(model: Any, z: Tensor) -> Tensor:
    """D(z), (M, X)."""
    found = model.likelihood(z).mean if hasattr(model, "likelihood") else model(z)
    return torch.as_tensor(found).flatten(1)
