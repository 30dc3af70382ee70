"""The divergence of the aggregate posterior in place of every single one's (DG-VAE).

Kept by the authors of uncollapse, as the worked example of docs/extend.md.
"""

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from uncollapse.distributions import diagonal
from uncollapse.draw import Draw, Model
from uncollapse.errors import BadInput
from uncollapse.functional import log_mean_exp
from uncollapse.remedies import Remedy
from uncollapse.schedules import Schedule

__all__ = ["DensityGap"]


class DensityGap(Remedy):
    r"""Codes of a batch together should look like the prior; each for itself may say what it likes.

    $T_i = \sum_j \frac1M \sum_m \Big[\log \frac1B \sum_k q(z_{imj}|x_k) - \log p(z_{imj})\Big]$ with M draws
    $z_{im} \sim q(z|x_i)$, latent by latent; the KL itself is left out (`rate` gives 0).

    The mean KL is the information plus this divergence, so the information costs nothing any more: the loss is no
    bound on the likelihood, and only marginals of the aggregate are asked to match. B candidates see at most log B.

    Arguments:
        weight: a number or a schedule.
        samples: M, draws per example; memory grows as M B² D.

    Raises:
        BadInput: when `samples` is not a positive whole number.
        Unsupported: when posterior or prior is not a diagonal Gaussian.

    References:
        Zhang et al., 2022, https://arxiv.org/abs/2211.00321, eq. 11.

    Example:
        >>> from uncollapse import Objective, VAE, draw
        >>> model = VAE(torch.nn.Linear(16, 8), torch.nn.Linear(4, 16), latent=4)
        >>> terms = Objective([DensityGap()])(draw(model, torch.rand(5, 16)), model)
        >>> terms["density_gap"].shape, terms["rate"].sum().item()
        (torch.Size([5]), 0.0)
    """

    sources = (
        "Zhang et al., 2022, Improving Variational Autoencoders with Density Gap-based Regularization, "
        "https://arxiv.org/abs/2211.00321",
    )
    draws_noise = True

    def __init__(self, weight: float | Schedule = 1.0, samples: int = 8) -> None:
        super().__init__(weight)
        if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
            raise BadInput(f"samples of DensityGap should be a positive whole number, got {samples!r}")
        self.samples = samples

    def rate(self, kl: Tensor) -> Tensor:
        """Nothing: the KL of single posteriors is not charged, (B, D) zeros."""
        return 0 * kl

    def term(self, draw: Draw, model: Model) -> Tensor:
        """Log density of the aggregate over that of the prior, at draws of x_i, (B,) nats."""
        mean, scale = diagonal(draw.q, "DensityGap")
        q: Distribution = Normal(mean, scale, validate_args=False)
        p: Distribution = Normal(*diagonal(draw.prior, "DensityGap, for the prior,"), validate_args=False)
        z = mean + scale * torch.randn(self.samples, *mean.shape, dtype=mean.dtype, device=mean.device)
        aggregate = log_mean_exp(q.log_prob(z.unsqueeze(2)), 2)  # over k of (M, B, k, D)
        return (aggregate - p.log_prob(z)).mean(0).sum(1)

    def extra_repr(self) -> str:
        """Shown by `print`."""
        return f"{super().extra_repr()}, samples={self.samples}"
