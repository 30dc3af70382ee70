r"""A linear Gaussian VAE, of which everything is known: evidence, posterior, information, and where it collapses.

$z \sim \mathcal N(0, I_D)$, $x|z \sim \mathcal N(Wz + b, s^2 I)$. Symbols: W `weight`, b `bias`, s² `noise`
(a variance), beta the weight of the KL, D latent dimension, l eigenvalues of the data covariance.
"""

from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

from uncollapse.errors import BadInput, ShapeError

__all__ = ["LinearVAE", "Optimum", "optimum"]


class Optimum(NamedTuple):
    """What a linear beta-VAE learns about each principal direction, largest eigenvalue first, (D,) each.

    Attributes:
        active: whether the direction is used at all.
        kl: mean KL to the prior, nats; for Gaussian data also the mutual information.
        variance: of the posterior.
        mean_variance: variance over the data of the posterior mean.
    """

    active: Tensor
    kl: Tensor
    variance: Tensor
    mean_variance: Tensor


def optimum(eigenvalues: Tensor, latent: int, noise: float, beta: float = 1.0) -> Optimum:
    r"""Closed form of the optimum of a linear beta-VAE.

    Direction i is active iff $l_i > \beta s^2$; then the posterior variance is $\beta s^2 / l_i$,
    $\mathrm{KL}_i = \tfrac12 \log\frac{l_i}{\beta s^2}$ and $\mathrm{Var}\,\mu_i = 1 - \beta s^2 / l_i$.

    Arguments:
        eigenvalues: of the data covariance, in any order, at least D of them.
        latent: D.
        noise: s², the variance of the likelihood.
        beta: weight of the KL.

    References:
        Lucas, Tucker, Grosse, Norouzi, 2019, https://arxiv.org/abs/1911.02469, for beta = 1; beta acts as a
        larger s².

    Example:
        >>> optimum(torch.tensor([4.0, 1.0, 0.5]), latent=2, noise=1.0).active
        tensor([ True, False])
    """
    if not noise > 0 or not beta > 0 or not 1 <= latent <= len(eigenvalues):
        raise BadInput(
            f"optimum expects noise > 0, beta > 0 and 1 to {len(eigenvalues)} latents, "
            f"got noise={noise}, beta={beta}, latent={latent}"
        )
    ratio = (beta * noise / eigenvalues.sort(descending=True).values[:latent]).clamp(max=1)
    return Optimum(ratio < 1, -0.5 * ratio.log(), ratio, 1 - ratio)


class LinearVAE(nn.Module):
    """A linear Gaussian model with its best encoder; it has no parameters and needs no training.

    Arguments:
        weight: (X, D), W.
        noise: s², the variance of the likelihood.
        bias: (X,), b; 0 if None.
        posterior: "exact", the full covariance posterior, or "diagonal", the best that factorises.
        beta: the encoder is that of noise beta s², as a beta-VAE's is.

    Example:
        >>> model = LinearVAE(torch.randn(5, 2), noise=0.5)
        >>> x = model.simulate(100)
        >>> gap = model.log_evidence(x) - model.elbo(x)
        >>> bool((gap.abs() < 1e-4).all())
        True
    """

    weight: Tensor
    bias: Tensor
    gain: Tensor
    covariance: Tensor

    def __init__(
        self,
        weight: Tensor,
        noise: float,
        bias: Tensor | None = None,
        posterior: str = "exact",
        beta: float = 1.0,
    ) -> None:
        super().__init__()
        if weight.ndim != 2 or (bias is not None and bias.shape != weight.shape[:1]):
            raise ShapeError(f"LinearVAE expects weight (X, D) and bias (X,), got a weight {tuple(weight.shape)}")
        if not noise > 0 or not beta > 0 or posterior not in ("exact", "diagonal"):
            raise BadInput(
                'LinearVAE expects noise > 0, beta > 0 and posterior "exact" or "diagonal", '
                f"got {noise}, {beta} and {posterior!r}"
            )
        self.noise, self.kind = noise, posterior
        precision = torch.eye(weight.shape[1], dtype=weight.dtype) + weight.T @ weight / (beta * noise)
        exact = torch.linalg.inv(precision)
        self.register_buffer("weight", weight)
        self.register_buffer("bias", weight.new_zeros(len(weight)) if bias is None else bias)
        self.register_buffer("gain", exact @ weight.T / (beta * noise))
        self.register_buffer("covariance", exact if posterior == "exact" else precision.diagonal().reciprocal().diag())

    @classmethod
    def optimal(cls, covariance: Tensor, latent: int, noise: float, beta: float = 1.0) -> Self:
        """The optimum of a beta-VAE on centred data with this covariance (X, X): principal directions, scaled."""
        values, vectors = torch.linalg.eigh(covariance)
        values, vectors = values.flip(0)[:latent], vectors.flip(1)[:, :latent]
        return cls(vectors * (values - beta * noise).clamp(min=0).sqrt(), noise, posterior="diagonal", beta=beta)

    def posterior(self, x: Tensor) -> Distribution:
        """q(z|x): x (B, X) gives batch (B,), event (D,)."""
        mean = (x - self.bias) @ self.gain.T
        if self.kind == "exact":
            return MultivariateNormal(mean, self.covariance)
        return Independent(Normal(mean, self.covariance.diagonal().sqrt().expand_as(mean)), 1)

    def likelihood(self, z: Tensor) -> Distribution:
        """p(x|z): z (*L, D) gives batch L, event (X,)."""
        mean = z @ self.weight.T + self.bias
        return Independent(Normal(mean, torch.full_like(mean, self.noise**0.5)), 1)

    def prior(self) -> Distribution:
        """p(z) = N(0, I)."""
        zero = torch.zeros_like(self.weight[0])
        return Independent(Normal(zero, torch.ones_like(zero)), 1)

    def evidence(self) -> MultivariateNormal:
        """p(x) = N(b, W W' + s² I)."""
        return MultivariateNormal(self.bias, self.data_covariance())

    def data_covariance(self) -> Tensor:
        """Covariance of x under the model, (X, X)."""
        return self.weight @ self.weight.T + self.noise * torch.eye(len(self.weight), dtype=self.weight.dtype)

    def log_evidence(self, x: Tensor) -> Tensor:
        """Exact log p(x), (B,) nats."""
        found: Tensor = self.evidence().log_prob(x)  # type: ignore[no-untyped-call]
        return found

    def elbo(self, x: Tensor) -> Tensor:
        """Exact evidence lower bound of the encoder, (B,) nats; `log_evidence` where that is exact and beta is 1."""
        mean = (x - self.bias) @ self.gain.T
        spread = (self.weight.T @ self.weight * self.covariance).sum() / self.noise
        log_px: Tensor = self.likelihood(mean).log_prob(x) - 0.5 * spread
        log_det: Tensor = torch.linalg.slogdet(self.covariance).logabsdet
        return log_px - 0.5 * (mean.square().sum(1) + self.covariance.trace() - mean.shape[1] - log_det)

    def information(self, covariance: Tensor | None = None) -> float:
        """Exact I(x;z) of the encoder, nats, for Gaussian data with this covariance (X, X); the model's own if None."""
        covariance = self.data_covariance() if covariance is None else covariance
        aggregate = self.gain @ covariance @ self.gain.T + self.covariance
        both = torch.linalg.slogdet(torch.stack([aggregate, self.covariance])).logabsdet
        return float(0.5 * (both[0] - both[1]))

    def simulate(self, n: int, seed: int = 0) -> Tensor:
        """Data drawn from the model, (N, X)."""
        generator = torch.Generator().manual_seed(seed)
        z = torch.randn(n, self.weight.shape[1], generator=generator, dtype=self.weight.dtype)
        noise = torch.randn(n, len(self.weight), generator=generator, dtype=self.weight.dtype)
        x: Tensor = z @ self.weight.T + self.bias + self.noise**0.5 * noise
        return x
