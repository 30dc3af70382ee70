"""The bound on information that a contrastive scorer certifies."""

import math
from typing import Any

import torch

from uncollapse.errors import BadInput
from uncollapse.functional import info_nce
from uncollapse.metrics.estimate import Estimate, mean_estimate
from uncollapse.metrics.information import NEAR

__all__ = ["InfoNCE", "infonce_bound"]


class InfoNCE(Estimate):
    """A lower bound of the mutual information.

    Attributes:
        ceiling: log K, which no scorer can exceed.
    """

    ceiling: float


def infonce_bound(scores: Any) -> InfoNCE:
    r"""Lower bound of the mutual information from the scores of any critic.

    $I \ge \log K + \frac1B\sum_i \log \frac{e^{s_{ii}}}{\sum_{j=1}^K e^{s_{ij}}}$, at most log K.

    Arguments:
        scores: (B, K), K >= B; row i holds the scores of query i, column i its partner.

    Returns:
        An `InfoNCE`, nats, with its cap in `ceiling`; the flag "saturated" is set within 0.1 of the cap.

    Raises:
        ShapeError: when there are fewer candidates than queries.
        BadInput: when the matrix is empty or a score is not finite.

    References:
        van den Oord, Li, Vinyals, 2018, https://arxiv.org/abs/1807.03748, section 2.3;
        Poole et al., 2019, https://arxiv.org/abs/1905.06922, eq. 10.

    Example:
        >>> infonce_bound(torch.zeros(4, 4))
        0.000 ± 0.000 nats (n = 4)
        >>> infonce_bound(100 * torch.eye(4)).ceiling == torch.tensor(4.0).double().log().item()
        True
    """
    scores = torch.as_tensor(scores).detach().double()
    losses = info_nce(scores)
    if not len(losses) or not scores.isfinite().all():
        raise BadInput(f"infonce_bound expects finite scores (B, K) with B at least 1, got shape {tuple(scores.shape)}")
    ceiling = math.log(scores.shape[1])
    mean = mean_estimate(ceiling - losses, "nats")
    flags = ("saturated",) if mean > ceiling - NEAR else ()
    found = InfoNCE(min(mean, ceiling), mean.se, mean.n, "nats", flags)
    found.ceiling = ceiling
    return found
