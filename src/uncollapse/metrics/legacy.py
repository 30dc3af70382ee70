"""The papers' own formulas where they differ from ours, so that old tables can be read.

None of these should be used to judge a model: each says in its flags what it cannot tell. Print them beside
the value of the metric that they stand for.
"""

import math

import torch

from uncollapse.codes import Codes
from uncollapse.errors import BadInput
from uncollapse.functional import pairwise_log_prob
from uncollapse.metrics.estimate import Estimate, mean_estimate
from uncollapse.metrics.legacy_likelihood import (
    batch_mean_nll,
    batch_summed_nll,
    flat_nll,
    negative_elbo,
    pairwise_lipschitz,
)
from uncollapse.metrics.samples import DensityCoverage, density_coverage

__all__ = [
    "batch_fraction",
    "batch_mean_nll",
    "batch_mutual_information",
    "batch_summed_nll",
    "diagonal_mutual_information",
    "flat_nll",
    "latent_density_coverage",
    "negative_elbo",
    "pairwise_lipschitz",
    "sampled_units",
]

ENTROPY = 0.5 * (1 + math.log(2 * math.pi))  #: of a standard normal, nats


def batch_mutual_information(codes: Codes, batch: int = 50) -> Estimate:
    r"""The mutual information of He et al.: per batch of B, with an analytic first term; about log B at most.

    $\frac1B\sum_i\big[-H(q_i) - \log\frac1B\sum_j q(z_i|x_j)\big]$ over the batch, then the mean over batches
    weighted by their size.

    Arguments:
        codes: diagonal Gaussian posteriors.
        batch: B; 32 for text and 50 for images in the paper.

    References:
        He et al., 2019, https://arxiv.org/abs/1901.05534, section 4.2 and the released code.

    Example:
        >>> codes = uncollapse.Codes.from_gaussian(100 * torch.randn(500, 2), torch.ones(500, 2))
        >>> batch_mutual_information(codes) < 4.3  # the truth is about 9 nats; log 50 = 3.9
        True
    """
    size = positive("batch", batch)
    mean, scale, z = codes.gaussian("batch_mutual_information")
    parts = []
    for m, s, at in zip(torch.split(mean, size), torch.split(scale, size), torch.split(z, size), strict=True):
        entropy = s.log().sum(1) + m.shape[1] * ENTROPY
        parts.append(-entropy - pairwise_log_prob(at, m, s).logsumexp(1) + math.log(len(m)))
    return mean_estimate(
        torch.cat(parts), "nats", (f"per batch of {size}: about log {size} = {math.log(size):.2f} at most",)
    )


def diagonal_mutual_information(codes: Codes, batch: int = 256) -> Estimate:
    r"""The estimator in CR-VAE's first public code, which compares every sample with its own posterior only.

    $\overline{H(q_i)} + \log \frac1B \sum_i q(z_i|x_i)$: about $\tfrac D2 (1 - \log 2)$ for equal scales,
    whatever the information.

    References:
        Lygerakis, Rueckert, 2023, https://arxiv.org/abs/2309.02968, released code.

    Example:
        >>> codes = uncollapse.Codes.from_gaussian(torch.zeros(5120, 2), torch.ones(5120, 2))
        >>> round(diagonal_mutual_information(codes), 1)  # collapsed: the truth is 0
        0.3
    """
    size = positive("batch", batch)
    mean, scale, z = codes.gaussian("diagonal_mutual_information")
    own = -0.5 * ((z - mean) / scale).square().sum(1) - scale.log().sum(1) - codes.latent * 0.5 * math.log(2 * math.pi)
    entropy = scale.log().sum(1) + codes.latent * ENTROPY
    parts = [
        h.mean() + lp.logsumexp(0) - math.log(len(lp))
        for h, lp in zip(torch.split(entropy, size), torch.split(own, size), strict=True)
    ]
    return mean_estimate(torch.stack(parts), "nats", ("does not depend on the information",))


def sampled_units(codes: Codes, threshold: float = 0.1) -> Estimate:
    """Active units by the standard deviation of *samples*: a latent on the prior has about 1 and counts.

    References:
        Asokan's re-implementation of Forget-me-not, https://github.com/abhijithasokan/forget-me-not-vae.

    Example:
        >>> float(sampled_units(uncollapse.Codes.from_gaussian(torch.zeros(100, 8), torch.ones(100, 8))))
        8.0
    """
    count = float((codes.sample.double().std(0) > threshold).sum())
    return Estimate(count, n=len(codes), unit="units", flags=("counts collapsed latents",))


def batch_fraction(codes: Codes, batch: int = 50, threshold: float = 0.01) -> Estimate:
    """Active units of LR-VAE: the share of latents whose means vary within a batch, averaged over batches.

    References:
        Song, Kim, Lee, 2025, https://arxiv.org/abs/2508.12530, released code.

    Example:
        >>> float(batch_fraction(uncollapse.Codes.from_gaussian(torch.zeros(100, 8), torch.ones(100, 8))))
        0.0
    """
    size = positive("batch", batch)
    parts = [m.var(0) >= threshold for m in torch.split(codes.mean.double(), size) if len(m) > 1]
    if not parts:
        raise BadInput("batch_fraction needs batches of at least two examples")
    shares = torch.stack(parts).double().mean(1)
    return mean_estimate(shares, "share", (f"per batch of {size}",))


def latent_density_coverage(codes: Codes, generated: Codes, k: int = 5) -> DensityCoverage:
    """Density and coverage between sampled codes of the data and of re-encoded generations.

    The feature space is the model's own latent space, so a collapsed model, whose codes are N(0, I) on both
    sides, scores about 1 and 0.97.

    Arguments:
        codes: of the data.
        generated: of samples from the prior, decoded and encoded again.
        k: the neighbour that sets the radius.

    References:
        Asokan's re-implementation of Forget-me-not, https://github.com/abhijithasokan/forget-me-not-vae.

    Example:
        >>> a, b = (uncollapse.Codes.from_gaussian(torch.zeros(500, 4), torch.ones(500, 4), seed=s) for s in (0, 1))
        >>> latent_density_coverage(a, b).coverage > 0.9  # collapsed
        True
    """
    found = density_coverage(codes.sample, generated.sample, k)
    found.features = "the model's own latents"
    for estimate in found:
        estimate.flags = ("in the model's own latents: rewards collapse",)
    return found


def positive(name: str, value: int) -> int:
    """The value, if it is a positive whole number."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadInput(f"{name} should be a positive whole number, got {value!r}")
    return value
