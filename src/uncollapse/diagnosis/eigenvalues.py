"""How many latents can stay active at a given decoder noise and KL weight, from the data's covariance alone."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from uncollapse.distributions import Folded, is_bernoulli
from uncollapse.errors import BadInput, ShapeError, Unsupported

__all__ = ["Spectrum", "eigenvalue_rule"]

EXACT = 1024  #: pixels or examples up to which all eigenvalues are computed
EXAMPLES = 4096  #: used at most; half of them beyond 1,024 pixels
TOP = 256  #: eigenvalues that are computed beyond that
ROUNDS = 4  #: of subspace iteration
SEEN = 0.01  #: variance of the means from which a latent counts as active


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The eigenvalues that decide, and the threshold that they have to pass.

    Attributes:
        eigenvalues: (K,), largest first: of the data covariance, or of it in units of the likelihood's own variance.
        noise: what an eigenvalue is held against at beta = 1: the variance of a Gaussian likelihood, or 1 where the
            eigenvalues are in units of it.
        beta: weight of the KL.
        rule: "gaussian", "whitened" (a variance per pixel) or "bernoulli" (the linear rule at the collapsed point, from
            which a decoder that is not linear may depart).
        total: sum of all eigenvalues, those not in the list included.
        pixels: numbers of an example that vary.
        examples: how many the covariance rests on.
    """

    eigenvalues: Tensor
    noise: float
    beta: float
    rule: str
    total: float
    pixels: int
    examples: int

    @property
    def threshold(self) -> float:
        """beta times the noise."""
        return self.beta * self.noise

    @property
    def allowed(self) -> int:
        """How many latents can stay active: eigenvalues above the threshold."""
        return self.above(self.threshold)

    @property
    def visible(self) -> int:
        """How many of them have a variance of means, 1 - threshold / eigenvalue, of at least 0.01."""
        return self.above(self.threshold / (1 - SEEN))

    @property
    def margin(self) -> tuple[int, int]:
        """`allowed` if all eigenvalues were two standard errors smaller, and larger; (relative error sqrt(2/N))."""
        error = min(2 * math.sqrt(2 / self.examples), 0.99)
        return self.above(self.threshold / (1 - error)), self.above(self.threshold / (1 + error))

    def above(self, threshold: float) -> int:
        """How many eigenvalues exceed a threshold."""
        return int((self.eigenvalues > threshold).sum())

    def at(self, beta: float) -> int:
        """`allowed` at another weight of the KL."""
        return self.above(beta * self.noise)

    def pooled(self, beta: float) -> int:
        """`at`, as far as N examples can speak for all others.

        Eigenvalues of pure noise spread in a sample, and half of them lie above their common value: those that do not
        stand out (`supported`) count by their mean.
        """
        k = self.supported(len(self.eigenvalues))
        rest = self.pixels - k if k < len(self.eigenvalues) and self.calibrated(k) > beta * self.noise else 0
        return int((self.eigenvalues[:k] > beta * self.noise).sum()) + rest

    def calibrated(self, latent: int) -> float:
        """Best noise for this many latents: mean of the other eigenvalues (Tipping, Bishop, 1999, eq. 8)."""
        rest = self.pixels - latent
        if rest <= 0 or latent > len(self.eigenvalues):
            return float(self.eigenvalues[-1])
        return max(self.total - float(self.eigenvalues[:latent].sum()), 0.0) / rest

    def supported(self, latent: int) -> int:
        """How many of D latents find a direction that stands out of the noise, were the noise set to its best.

        The smallest k after which the next eigenvalue is one of pure noise: not above (1 + sqrt(X/N))² times the mean
        of the rest, the largest that noise shows in N examples (Marchenko, Pastur, 1967).
        """
        edge = (1 + math.sqrt(self.pixels / self.examples)) ** 2
        most = min(latent, len(self.eigenvalues))
        for k in range(most):
            rest = self.calibrated(k)
            if float(self.eigenvalues[k]) <= max(edge * rest, 1e-9 * float(self.eigenvalues[0])):
                return k
        return most


def eigenvalue_rule(x: Tensor, likelihood: float | Tensor | str | Distribution, beta: float = 1.0) -> Spectrum:
    r"""How many latents of a VAE can stay active on these data.

    Gaussian likelihood of variance $s^2$: a linear VAE uses direction i iff $\lambda_i > \beta s^2$, with
    $\lambda$ the eigenvalues of the data covariance. With a variance per pixel, x is divided by the standard deviation
    first. Bernoulli likelihood: the collapsed solution is left along as many directions as
    $V^{-1/2} C V^{-1/2}$ has eigenvalues above $\beta$, with C the covariance and $V = \operatorname{diag} p(1-p)$,
    p the mean of the data; for binary data that is the correlation matrix (docs/causes/decoder-noise.md).

    Arguments:
        x: (N, *X); at most 4,096 examples are used (2,048 beyond 1,024 pixels), evenly spaced.
        likelihood: the variance of a Gaussian one, a number or a tensor X; "bernoulli"; or the model's own likelihood
            of some examples, whose variance is averaged over them.
        beta: weight of the KL.

    Raises:
        BadInput: for fewer than two examples, numbers that are not finite, or a variance that is not positive.
        Unsupported: for likelihoods of other families.

    References:
        Lucas, Tucker, Grosse, Norouzi, 2019, https://arxiv.org/abs/1911.02469, section 4, for beta = 1.

    Example:
        >>> x = torch.randn(1000, 3) * torch.tensor([3.0, 1.0, 0.1])
        >>> eigenvalue_rule(x, 0.5).allowed, eigenvalue_rule(x, 0.5, beta=4).allowed
        (2, 1)
    """
    if not isinstance(x, Tensor) or x.ndim < 2 or len(x) < 2:
        raise ShapeError("the eigenvalue rule needs at least two examples, x (N, *X)")
    if not beta >= 0:
        raise BadInput(f"beta should be a number of at least 0, got {beta}")
    most = EXAMPLES if x[0].numel() <= EXACT else EXAMPLES // 2
    rows = x.detach()[:: -(-len(x) // most)].flatten(1).double().cpu()
    if not rows.isfinite().all():
        raise BadInput("the eigenvalue rule needs finite data; look for NaN or infinite values in x")
    rule, noise, scale = unit(rows, likelihood, x.shape[1:])
    rows = (rows - rows.mean(0))[:, scale > 0] / scale[scale > 0].sqrt()
    rows = rows[:, rows.abs().amax(0) > 0] if rows.numel() else rows
    if not rows.shape[1]:
        return Spectrum(torch.zeros(1, dtype=torch.float64), noise, float(beta), rule, 0.0, 1, len(rows))
    values = eigenvalues(rows)
    total = float(rows.square().sum()) / (len(rows) - 1)
    return Spectrum(values, noise, float(beta), rule, total, rows.shape[1], len(rows))


def unit(rows: Tensor, likelihood: Any, shape: torch.Size) -> tuple[str, float, Tensor]:
    """The name of the rule, the noise, and the variance (X,) by which the data are divided."""
    one = torch.ones(rows.shape[1], dtype=torch.float64)
    if isinstance(likelihood, Distribution):
        likelihood = described(likelihood, shape)
    if isinstance(likelihood, str):
        if likelihood != "bernoulli":
            raise Unsupported(f"there is no eigenvalue rule for a likelihood called {likelihood!r}")
        share = rows.mean(0)
        if share.min() < 0 or share.max() > 1:
            raise BadInput("a Bernoulli likelihood needs data between 0 and 1; divide them by their largest value")
        return "bernoulli", 1.0, share * (1 - share)
    variance = torch.as_tensor(likelihood, dtype=torch.float64).detach().cpu().flatten()
    if not (variance > 0).all() or not variance.isfinite().all() or len(variance) not in (1, rows.shape[1]):
        raise BadInput(f"the variance should be positive, one number or one per pixel ({rows.shape[1]})")
    if float(variance.max()) <= float(variance.min()) * (1 + 1e-6):
        return "gaussian", float(variance[0]), one
    return "whitened", 1.0, variance


def described(px: Distribution, shape: torch.Size) -> Any:
    """ "bernoulli", or the variance (X,) of a Gaussian likelihood, averaged over its examples."""
    base: Any = px
    while isinstance(base, Folded | Independent):
        base = base.base if isinstance(base, Folded) else base.base_dist
    if isinstance(base, Normal):
        return base.variance.detach().double().reshape(-1, shape.numel()).mean(0)
    if is_bernoulli(px):
        return "bernoulli"
    raise Unsupported(
        f"there is an eigenvalue rule for Gaussian and Bernoulli likelihoods, not for {type(base).__name__}"
    )


def eigenvalues(rows: Tensor) -> Tensor:
    """Of the covariance of centred rows (N, X), largest first; the leading 256 where both N and X are large."""
    n, pixels = rows.shape
    if pixels <= EXACT or n <= EXACT:
        square = rows.T @ rows if pixels <= n else rows @ rows.T
        values: Tensor = torch.linalg.eigvalsh(square / (n - 1)).flip(0).clamp(min=0)
        return values[: min(pixels, n - 1)]
    narrow = rows.float()
    basis = torch.randn(pixels, TOP + 32, generator=torch.Generator().manual_seed(0))
    for _ in range(ROUNDS):
        basis = torch.linalg.qr(narrow.T @ torch.linalg.qr(narrow @ basis).Q).Q
    lengths: Tensor = torch.linalg.svdvals(narrow @ basis).double()
    return lengths[:TOP].square() / (n - 1)
