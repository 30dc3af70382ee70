"""Batch normalisation of posterior means: the means of a batch cannot all be the same."""

import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from uncollapse.distributions import diagonal
from uncollapse.errors import BadInput
from uncollapse.wrappers.base import Wrapper

__all__ = ["BatchNormMean"]


class BatchNormMean(Wrapper):
    r"""The posterior's means have a fixed variance over the batch.

    $\mu_j \leftarrow \gamma_j\,\dfrac{\mu_j - \langle\mu_j\rangle}{\sqrt{\operatorname{Var}\mu_j + \epsilon}} + b_j$,
    with brackets over the batch in training, running statistics in evaluation, and a trainable shift b. Three forms:

    - BN-VAE: $\gamma_j = \gamma$, fixed. Then $\langle\mathrm{KL}\rangle \ge \tfrac12 \sum_j (\gamma^2 + b_j^2)$.
    - `renormalise`, the mean part of DU-VAE: the $\gamma_j$ are trained, their root mean square stays $\gamma$, and so
      does the floor.
    - `tau`: $\gamma_j^2 = \tau + (1-\tau)\,\mathrm{sig}(\theta_j)$, b = 0, and the scales are brought to
      $\langle\sigma_j^2\rangle = (1-\tau)\,\mathrm{sig}(-\theta_j)$, so that the aggregate posterior has the prior's
      second moment. Then $\langle\mathrm{KL}\rangle \ge -\tfrac12 \sum_j \log\langle\sigma_j^2\rangle$.

    Because means must differ between inputs, this floor brings some information, which a floor alone does not; how
    much, depends on the scales: with $\sigma = 1$ at most $\tfrac12\log(1 + \gamma^2)$ nats a latent.

    The floors hold for the batch in training, for $\operatorname{Var}\mu_j \gg \epsilon$; in evaluation they may be
    missed: by a little, and by much in the first few dozen batches, when the running statistics still hold what they
    started with. Every pass in training mode moves the running statistics, so a remedy that encodes other things
    than data (reconstructed images, say) disturbs them.

    Arguments:
        model: a model with a diagonal Gaussian posterior.
        gamma: positive; the paper takes 0.3 to 0.7. Not used with `tau`.
        tau: in (0, 1), for the third form; None for the other two.
        renormalise: train the gammas at a fixed root mean square.
        momentum, eps: of the normalisation, as in `torch.nn.BatchNorm1d`.

    Raises:
        BadInput: when an argument is out of range, or a training batch holds a single example.
        Unsupported: when the posterior is not a diagonal Gaussian.

    References:
        Zhu et al., 2020, https://arxiv.org/abs/2004.12585, eq. 9;
        Shen et al., 2021, https://arxiv.org/abs/2110.12381 (renormalise);
        Su, 2020, https://kexue.fm/archives/7381 (tau; there the raw scale is normalised, and may become negative).

    Example:
        >>> from uncollapse import VAE
        >>> model = BatchNormMean(VAE(nn.Linear(16, 64), nn.Linear(32, 16), latent=32))
        >>> round(model.floor(), 2)
        7.84
        >>> bool(model.eval().posterior(torch.rand(1, 16)).mean.isfinite().all())
        True
    """

    sources = (
        "Zhu et al., 2020, A Batch Normalized Inference Network Keeps the KL Vanishing Away, "
        "https://arxiv.org/abs/2004.12585",
        "Shen et al., 2021, Regularizing Variational Autoencoder with Diversity and Uncertainty Awareness, "
        "https://arxiv.org/abs/2110.12381",
        "Su, 2020, VAE + BN = a better VAE (in Chinese), https://kexue.fm/archives/7381",
    )
    side = "encoder"

    def __init__(
        self,
        model: Any,
        gamma: float = 0.7,
        tau: float | None = None,
        renormalise: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> None:
        super().__init__(model)
        for name, value in {"gamma": gamma, "momentum": momentum, "eps": eps}.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                raise BadInput(f"{name} of BatchNormMean should be a positive number, got {value!r}")
        if tau is not None and (renormalise or not 0 < tau < 1):
            raise BadInput(f"tau should be in (0, 1) and come without renormalise, got tau={tau!r}, {renormalise=}")
        self.gamma, self.tau = float(gamma), tau
        latent = model.prior().event_shape[0]
        self.means = nn.BatchNorm1d(latent, eps, momentum, affine=False)
        self.scales = None if tau is None else nn.BatchNorm1d(latent, eps, momentum, affine=False)
        self.theta = None if tau is None else nn.Parameter(torch.zeros(latent))
        self.shift = nn.Parameter(torch.zeros(latent)) if tau is None else None
        self.ratio = nn.Parameter(torch.ones(latent)) if renormalise else None

    def posterior(self, x: Tensor) -> Distribution:
        """q(z|x) with normalised means: batch (B,), event (D,)."""
        mean, scale = diagonal(self.model.posterior(x), type(self).__name__)
        if self.training and len(mean) < 2:
            raise BadInput("BatchNormMean compares the examples of a training batch, so it needs at least two, got one")
        mean = self.gammas() * self.means(mean)
        if self.shift is not None:
            mean = mean + self.shift
        if self.scales is not None:
            scale = scale * (self.variances() / self.second_moment(scale)).sqrt()
        return Independent(Normal(mean, scale, validate_args=False), 1, validate_args=False)

    def gammas(self) -> Tensor | float:
        """Standard deviations of the means over a batch, (D,) or one for all."""
        if self.tau is not None:
            return (self.tau + (1 - self.tau) * cast(Tensor, self.theta).sigmoid()).sqrt()
        if self.ratio is not None:
            return self.gamma * self.ratio / self.ratio.square().mean().sqrt()
        return self.gamma

    def variances(self) -> Tensor:
        """What the mean of sigma² over a batch is brought to in the form with tau, (D,)."""
        return (1 - cast(float, self.tau)) * (-cast(Tensor, self.theta)).sigmoid()

    def second_moment(self, scale: Tensor) -> Tensor:
        """Mean of sigma² over the batch, or its running value in evaluation, (D,)."""
        scales = cast(nn.BatchNorm1d, self.scales)
        if self.training:
            scales(scale.detach())  # moves the running statistics
            return scale.square().mean(0)
        return cast(Tensor, scales.running_var) + cast(Tensor, scales.running_mean).square()

    @torch.no_grad()
    def floor(self) -> float:
        """What the mean KL of a training batch from N(0, I) cannot fall below, nats, with eps left out."""
        if self.tau is not None:
            return float(-0.5 * self.variances().log().sum())
        shift = cast(Tensor, self.shift)
        return 0.5 * (len(shift) * self.gamma**2 + float(shift.square().sum()))

    def extra_repr(self) -> str:
        """Shown by `print`."""
        form = f"gamma={self.gamma:g}, renormalise={self.ratio is not None}"
        return form if self.tau is None else f"tau={self.tau:g}"
