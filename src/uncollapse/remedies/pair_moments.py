"""Moments of the divergence between the diagonal Gaussians of a batch, over all pairs, from sums of one index."""

import torch
from torch import Tensor

__all__ = ["deviation_of_kl", "exact", "mean_pairwise_kl"]

ROUNDING = 1e-13  #: share of a sum of squares below which a difference of two is 0


def mean_pairwise_kl(mean: Tensor, scale: Tensor) -> Tensor:
    r"""Mean of $\mathrm{KL}(q_i \| q_j)$ over all pairs of different diagonal Gaussians, latent by latent.

    $m = \frac{1}{2B(B-1)} \left[ \sum_i(\sigma_i^2 + \mu_i^2) \sum_j \sigma_j^{-2} - 2 \sum_i \mu_i \sum_j
    \mu_j\sigma_j^{-2} + B \sum_j \mu_j^2\sigma_j^{-2} - B^2 \right]$: the logarithms cancel, and sums are enough.

    Arguments:
        mean, scale: (B, D), B at least 2.

    Returns:
        (D,) nats, in float64, because the terms cancel at small scales.

    Example:
        >>> mean_pairwise_kl(torch.tensor([[0.0], [2.0]]), torch.ones(2, 1))
        tensor([2.], dtype=torch.float64)
    """
    mean, scale, count = exact(mean), exact(scale), len(mean)
    mean, precision = mean - mean.detach().mean(0), scale.pow(-2)
    total = (scale.square() + mean.square()).sum(0) * precision.sum(0)
    total = total - 2 * mean.sum(0) * (mean * precision).sum(0) + count * (mean.square() * precision).sum(0)
    return (total - count**2) / (2 * count * (count - 1))


def deviation_of_kl(mean: Tensor, scale: Tensor) -> Tensor:
    r"""Standard deviation of $\mathrm{KL}(q_i \| q_j)$ over all pairs of different diagonal Gaussians.

    The divergences are $c + f_i + g_j + u_i \cdot v_j$ with f, g, u, v of mean 0, u and v of 2 D numbers. Their squared
    deviations from c add up to $B |f|^2 + B |g|^2 + \langle U^\top U, V^\top V \rangle$, without a B x B matrix.

    Arguments:
        mean, scale: (B, D), B at least 2.

    Returns:
        A number of nats, in float64; its gradient is 0 where all are equal.

    Example:
        >>> deviation_of_kl(torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [2.0]])).round(decimals=4)
        tensor(1.4062, dtype=torch.float64)
    """
    count, average = len(mean), mean_pairwise_kl(mean, scale).sum()
    mean, scale = exact(mean), exact(scale)
    mean = mean - mean.detach().mean(0)  # where float32 would drown small scales
    precision, logs = scale.square().reciprocal(), scale.log().sum(1)
    mine = torch.cat([scale.square() + mean.square(), mean], 1)  # KL(q_i||q_j) has their product
    theirs = torch.cat([0.5 * precision, -precision * mean], 1)
    f = centred(mine @ theirs.mean(0) - logs)
    g = centred(theirs @ mine.mean(0) + 0.5 * (precision * mean.square()).sum(1) + logs)
    u, v = centred(mine), centred(theirs)
    few = count < u.shape[1]  # then B x B numbers, else 4 D²
    mixed = (u @ v.T).square().sum() if few else ((u.T @ u) * (v.T @ v)).sum()
    within = count * (f.square().sum() + g.square().sum()) + mixed
    # Pairs (i, i) are 0 and do not count.
    variance = (within - (count - 1) * average.square()) / (count * (count - 1) - 1)
    differ = variance > ROUNDING * within / count**2
    return torch.where(differ, variance, 1).sqrt() * differ


def centred(x: Tensor) -> Tensor:
    """x less its mean over the first dimension."""
    return x - x.mean(0)


def exact(x: Tensor) -> Tensor:
    """The tensor in float64, or in float32 where a device has no more."""
    return x.to(torch.float32 if x.device.type == "mps" else torch.float64)
