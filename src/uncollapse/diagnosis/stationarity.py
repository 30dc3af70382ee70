"""The weight of the KL that a trained model implies: where its posteriors stopped, two forces balance."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Normal

from uncollapse.distributions import diagonal
from uncollapse.draw import Model

__all__ = ["Implied", "implied_beta"]

EXAMPLES, PAIRS, FOLDS = 512, 4, 8
CARRIES = 0.2  #: mean of 1 - sigma² from which a latent says something
AGREES = 0.25  #: relative standard error, and relative spread over the latents, up to which the answer is believed


class Implied(NamedTuple):
    """An implied weight and its standard error, or None where it cannot be told."""

    beta: float | None
    spread: float | None


def implied_beta(model: Model, x: Tensor, seed: int = 0) -> Implied:
    r"""The weight of the KL at which a trained model's posterior scales are stationary.

    Scaling every $\sigma_{ij}$ of latent j by $e^t$ changes $\mathrm{KL}$ at the rate $\sum_i (\sigma_{ij}^2 - 1)$
    and $-\log p$ at the rate $\sum_i \mathbb E[\epsilon_{ij} \sigma_{ij}\, \partial_{z_j} (-\log p(x_i|z))]$. At an
    optimum $\beta_j = \sum_i \mathbb E[\dots] / \sum_i (1 - \sigma_{ij}^2)$ is the same for every latent. Scaling the
    means gives a second equation, which has to agree.

    Arguments:
        model: with a diagonal Gaussian posterior and the prior N(0, I).
        x: (B, *X); at most 512 examples are used.
        seed: of the noise.

    Returns:
        The weight, in units of the model's own likelihood, and its standard error over the examples. None where no
        latent carries anything, latents do not agree, or the error is large.

    Example:
        >>> from uncollapse.testing.linear import LinearVAE
        >>> x = torch.randn(500, 3) * torch.tensor([2.0, 1.5, 0.5])
        >>> model = LinearVAE.optimal(x.T.cov(), 2, noise=0.1, beta=3.0)
        >>> round(implied_beta(model, x).beta)
        3
    """
    prior = model.prior()
    base = getattr(prior, "base_dist", prior)
    if not isinstance(base, Normal) or base.loc.abs().max() > 0 or (base.scale - 1).abs().max() > 0:
        return Implied(None, None)
    force, rate = balance(model, x[:EXAMPLES], seed)
    use = rate[0].mean(0) >= CARRIES
    if not use.any():
        return Implied(None, None)
    scales, means = (force[i][:, use].mean(0) / rate[i][:, use].mean(0) for i in (0, 1))
    beta = float(force[0][:, use].sum() / rate[0][:, use].sum())
    spread = jackknife(force[0][:, use].sum(1), rate[0][:, use].sum(1))
    uneven = torch.cat([scales, means]).sub(beta).abs().quantile(0.8)
    if not beta > 0 or spread > AGREES * beta or not float(uneven) <= AGREES * beta:
        return Implied(None, spread)
    return Implied(beta, max(spread, float(uneven) / float(use.sum()) ** 0.5))


def balance(model: Model, x: Tensor, seed: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Per example and latent, for the scale and for the mean: what -log p gains, and what the KL saves, (B, D) each."""
    with torch.no_grad():
        mean, scale = diagonal(model.posterior(x), "implied_beta")
    kind = x.dtype if x.is_floating_point() else mean.dtype
    generator = torch.Generator().manual_seed(seed)
    stretch, shift = torch.zeros_like(mean), torch.zeros_like(mean)
    for _ in range(PAIRS):
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        for sign in (1, -1):  # pairs of opposite noise: what is linear in it cancels
            z = (mean + sign * scale * noise).requires_grad_()
            (slope,) = torch.autograd.grad(-model.likelihood(z.to(kind)).log_prob(x).sum(), z)
            stretch += slope * sign * noise * scale / (2 * PAIRS)
            shift += slope * mean / (2 * PAIRS)
    stretch, shift, mean, scale = (one.double() for one in (stretch, shift, mean, scale))
    return (stretch, -shift), (1 - scale.square(), mean.square())


def jackknife(above: Tensor, below: Tensor) -> float:
    """Standard error of a ratio of sums over examples, (B,) each."""
    folds = min(FOLDS, len(above))
    if folds < 2:
        return float("inf")
    parts = zip(above.tensor_split(folds), below.tensor_split(folds), strict=True)
    without = torch.stack([(above.sum() - a.sum()) / (below.sum() - b.sum()) for a, b in parts])
    return float(((folds - 1) * without.var(unbiased=False)).sqrt())
