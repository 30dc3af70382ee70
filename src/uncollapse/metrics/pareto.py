"""How far importance weights can be trusted: effective sample size and the shape of their tail."""

import math

import torch
from torch import Tensor

__all__ = ["effective_samples", "pareto_shape"]

LEAST_TAIL = 5  #: weights in the tail below which no shape is fitted


def effective_samples(log_weights: Tensor) -> Tensor:
    r"""Effective sample size $(\sum_k w_k)^2 / \sum_k w_k^2$ of every row, between 1 and K.

    Arguments:
        log_weights: (B, K), nats.

    Returns:
        (B,).

    References:
        Kong, 1992, "A note on importance sampling using standardized weights".

    Example:
        >>> effective_samples(torch.zeros(1, 8))
        tensor([8.])
    """
    weights = (log_weights - log_weights.amax(1, keepdim=True)).exp()  # the sums of large logarithms would be rounding
    return weights.sum(1).square() / weights.square().sum(1)


def pareto_shape(log_weights: Tensor) -> Tensor:
    r"""Shape $\hat k$ of the generalised Pareto distribution of the largest weights of every row.

    Below 0.5 the weights have a finite variance; above 0.7 the estimate cannot be trusted. The tail holds
    min(K / 5, 3 sqrt K) weights; the fit is Zhang and Stephens' profile posterior, drawn towards 0.5 by
    ten observations' worth.

    Arguments:
        log_weights: (B, K), nats.

    Returns:
        (B,); NaN where the tail is shorter than five weights (K < 21), 0 where all its weights are equal.

    References:
        Vehtari et al., 2015, https://arxiv.org/abs/1507.02646, section 2 and appendix C;
        Zhang, Stephens, 2009, https://doi.org/10.1198/tech.2009.08017.

    Example:
        >>> pareto_shape(torch.zeros(2, 100))
        tensor([0., 0.], dtype=torch.float64)
    """
    draws = log_weights.shape[1]
    tail = math.ceil(min(draws / 5, 3 * math.sqrt(draws)))
    if tail < LEAST_TAIL:
        return torch.full(log_weights.shape[:1], math.nan, dtype=torch.float64)
    top = log_weights.double().topk(tail + 1, dim=1).values.flip(1)  # ascending; the first is the cut
    weights = (top - top[:, -1:]).exp()
    excess = weights[:, 1:] - weights[:, :1]
    flat = excess[:, -1] <= 1e-12
    shape = fit_pareto(excess.masked_fill(flat[:, None], 1.0).clamp(min=1e-300))
    return torch.where(flat, 0.0, shape)


def fit_pareto(excess: Tensor) -> Tensor:
    """Shape of the generalised Pareto distribution of ascending positive values (B, T), (B,)."""
    n = excess.shape[1]
    grid = 30 + int(math.sqrt(n))
    quartile = excess[:, int(n / 4 + 0.5) - 1 : int(n / 4 + 0.5)]
    steps = 1 - (grid / (torch.arange(1, grid + 1, dtype=excess.dtype, device=excess.device) - 0.5)).sqrt()
    theta = 1 / excess[:, -1:] + steps / (3 * quartile)  # (B, grid), candidates of -k / sigma up to sign
    shape = torch.log1p(-theta[:, :, None] * excess[:, None, :]).mean(2)
    profile = n * ((-theta / shape).log() - shape - 1)
    best = (profile.softmax(1).nan_to_num() * theta).sum(1, keepdim=True)
    found = torch.log1p(-best * excess).mean(1)
    return (n * found + 10 * 0.5) / (n + 10)
