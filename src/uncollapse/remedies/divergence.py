r"""Divergences of posteriors: of their mean from the prior, and of each from the others.

Setting: a batch of B posteriors $q_i = q(z|x_i)$ with codes $z_i \sim q_i$; $q(z)$ is their mean. `MMD` holds $q(z)$ to
the prior, so that the $q_i$ need not be; `MAE` pushes the $q_i$ away from one another.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Size, Tensor, nn

from uncollapse.distributions import diagonal, precise
from uncollapse.draw import Draw, Model
from uncollapse.errors import BadInput
from uncollapse.remedies.base import Remedy, at_least_zero, one_of, shown
from uncollapse.remedies.contrast import compared, positive
from uncollapse.remedies.kernels import far, kernel_sums
from uncollapse.remedies.pair_moments import deviation_of_kl, exact, mean_pairwise_kl
from uncollapse.schedules import Schedule

__all__ = ["MAE", "MMD"]

Kernel = Literal["rbf", "imq"]
Bandwidth = float | Literal["dimension", "median"]
Statistic = Literal["u", "v"]


class MMD(Remedy):
    r"""The aggregate posterior is held to the prior by a kernel, so that single posteriors need not be (InfoVAE).

    The objective becomes $-\log p(x|z) + (1-\alpha)\,\mathrm{KL} + (\alpha+\lambda-1)\,\mathrm{MMD}^2$, where

    $\mathrm{MMD}^2 = \mathbb E\,k(z,z') - 2\,\mathbb E\,k(z,y) + \mathbb E\,k(y,y')$ for z, z' from q(z) and y, y'
    from p(z).

    At $\alpha = 1$ nothing keeps a posterior from becoming a point, and the likelihood bound goes with it. The term
    is in units of the kernel, at most a few: $\lambda$ in the hundreds puts it on the scale of a reconstruction.

    Arguments:
        alpha: weight taken off the KL, at most 1: 0 keeps the whole KL, 1 drops it (MMD-VAE).
        lam: lambda; alpha + lambda - 1 must not be negative.
        kernel: "rbf", exp(-r / h), or "imq", h / (h + r), r the squared distance.
        bandwidth: h; "dimension" is D² for rbf (the authors' code) and 2 D for imq (WAE), "median" the median squared
            distance between codes and prior samples of the batch.
        scales: kernels of bandwidth h times each of these are added up; WAE's code has 0.1 to 10.
        statistic: "u" leaves pairs of a code with itself out, is unbiased and can be negative; "v" keeps them in.
        samples: how many prior samples; as many as codes if None.

    Raises:
        BadInput: for an unknown choice, a weight out of range, or a batch of one.

    References:
        Zhao, Song, Ermon, 2017, https://arxiv.org/abs/1706.02262; Gretton et al., 2012,
        https://jmlr.org/papers/v13/gretton12a.html, lemma 6 (both statistics);
        Tolstikhin et al., 2018, https://arxiv.org/abs/1711.01558 (the imq kernel).

    Example:
        >>> from uncollapse import VAE, draw
        >>> model = VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4)
        >>> MMD(alpha=1.0, lam=100.0)(draw(model, torch.rand(5, 16)), model).shape
        torch.Size([5])
    """

    sources = (
        "Zhao, Song, Ermon, 2017, InfoVAE: Information Maximizing Variational Autoencoders, "
        "https://arxiv.org/abs/1706.02262",
        "Gretton et al., 2012, A Kernel Two-Sample Test, https://jmlr.org/papers/v13/gretton12a.html",
        "Tolstikhin et al., 2018, Wasserstein Auto-Encoders, https://arxiv.org/abs/1711.01558",
    )
    draws_noise = True

    def __init__(
        self,
        alpha: float = 1.0,
        lam: float = 100.0,
        kernel: Kernel = "rbf",
        bandwidth: Bandwidth = "dimension",
        scales: Sequence[float] = (1.0,),
        statistic: Statistic = "u",
        samples: int | None = None,
    ) -> None:
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not -math.inf < alpha <= 1:
            raise BadInput(f"alpha of MMD should be a number of at most 1, got {alpha!r}")
        weight = round(alpha + at_least_zero("lam", lam) - 1, 12)  # 0.9 + 0.1 is not 1
        super().__init__(at_least_zero("alpha + lam - 1 of MMD", weight))
        self.alpha, self.lam = float(alpha), float(lam)
        self.kernel = one_of("kernel", kernel, Kernel)
        self.statistic = one_of("statistic", statistic, Statistic)
        named = bandwidth in ("dimension", "median")
        self.bandwidth = bandwidth if named else positive("bandwidth, unless 'dimension' or 'median',", bandwidth)
        self.scales = tuple(positive("a scale of MMD", scale) for scale in scales)
        if not self.scales:
            raise BadInput("scales of MMD should hold at least one number, such as (1.0,)")
        if samples is not None and (isinstance(samples, bool) or not isinstance(samples, int) or samples < 2):
            raise BadInput(f"samples of MMD should be a whole number of at least 2, or None, got {samples!r}")
        self.samples = samples

    def rate(self, kl: Tensor) -> Tensor:
        """The KL times 1 - alpha, (B, D) nats."""
        return (1 - self.alpha) * kl

    def term(self, draw: Draw, model: Model) -> Tensor:
        """What each code adds to the squared MMD, (B,), mean over the K samples; their mean is the statistic."""
        zs = precise(compared(draw, "sample", "MMD"))
        sample = draw.prior.rsample if draw.prior.has_rsample else draw.prior.sample
        prior = precise(sample(Size((self.samples or zs.shape[1],))))
        with torch.autocast(zs.device.type, enabled=False):
            return torch.stack([self.shares(z, prior) for z in zs]).mean(0)

    def shares(self, z: Tensor, prior: Tensor) -> Tensor:
        """What each of the codes (B, D) adds to their squared MMD from prior samples (M, D), (B,)."""
        among, across, theirs = self.sums(z, prior)
        return self.row_means(among) - 2 * across / len(prior) + self.row_means(theirs).mean()

    def sums(self, z: Tensor, prior: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The kernel summed over the other codes (B,), the prior's samples (B,), and from these to each other (M,)."""
        width, rbf, kind = self.width(z, prior), self.kernel == "rbf", z.dtype
        if far(z, prior, width, min(self.scales)):
            z, prior = z.double(), prior.double()
        pairs = ((z, None), (z, prior), (prior, None))
        among, across, theirs = (kernel_sums(one, other, width, self.scales, rbf).to(kind) for one, other in pairs)
        return among, across, theirs

    def width(self, z: Tensor, prior: Tensor) -> float | Tensor:
        """h."""
        if self.bandwidth == "median":
            return squared_distances(z.detach(), prior.detach()).median()
        latent = z.shape[1]
        return (latent**2 if self.kernel == "rbf" else 2 * latent) if self.bandwidth == "dimension" else self.bandwidth

    def row_means(self, sums: Tensor) -> Tensor:
        """Mean kernel of each sample with its own kind, (N,), from sums in which it met itself too."""
        return sums / len(sums) if self.statistic == "v" else (sums - len(self.scales)) / (len(sums) - 1)

    def extra_repr(self) -> str:
        """Shown by `print`."""
        return (
            f"alpha={self.alpha:g}, lam={self.lam:g}, kernel={self.kernel!r}, bandwidth={self.bandwidth!r}, "
            f"scales={self.scales}, statistic={self.statistic!r}, samples={self.samples}"
        )


class MAE(Remedy):
    r"""Posteriors of a batch are pushed apart, and evenly (mutual posterior divergence, Ma et al.).

    $T = -\eta \sum_d \log \operatorname{sigmoid}(m_d / \eta) + \gamma\, s$, where $m_d$ is the mean over pairs
    $i \ne j$ of $\mathrm{KL}(q_{id} \| q_{jd})$ and $s$ the standard deviation over pairs of
    $\mathrm{KL}(q_i \| q_j)$. The mean over pairs bounds I(x;z) from above, so raising it permits information and does
    not ensure any. Every example is given the value of its batch.

    Arguments:
        eta: weight and reach of the first part, which lets go of a latent once $m_d$ is several eta; 0 drops it.
        gamma: weight of the second part; 0 drops it. Above 1/sqrt(8) = 0.35 it keeps a collapsed model collapsed.
        floor: of the batch's mean KL to the prior, nats: below it the KL costs nothing ("free bits" of the authors'
            code, on the whole vector and on the batch mean; `FreeBits` has the other kinds).
        weight: of both parts; number or schedule.

    Raises:
        BadInput: when a weight is negative, or for a batch of one.
        Unsupported: when the posterior is not a diagonal Gaussian.

    References:
        Ma, Zhou, Hovy, 2019, https://arxiv.org/abs/1901.01498; eta inside the sigmoid as in the authors' code,
        https://github.com/XuezheMax/mae.

    Example:
        >>> from uncollapse import VAE, draw
        >>> model = VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4)
        >>> MAE(eta=1.0, gamma=0.1)(draw(model, torch.rand(5, 16)), model).shape
        torch.Size([5])
    """

    sources = (
        "Ma, Zhou, Hovy, 2019, MAE: Mutual Posterior-Divergence Regularization for Variational AutoEncoders, "
        "https://arxiv.org/abs/1901.01498",
    )

    def __init__(
        self, eta: float = 1.0, gamma: float = 0.1, floor: float = 0.0, weight: float | Schedule = 1.0
    ) -> None:
        super().__init__(weight)
        self.eta, self.gamma = at_least_zero("eta", eta), at_least_zero("gamma", gamma)
        self.floor = at_least_zero("floor", floor)
        self.reaches_encoder = self.eta > 0 or self.gamma > 0

    def rate(self, kl: Tensor) -> Tensor:
        """The KL, or the floor where the batch's mean is below it, (B, D) nats."""
        return torch.where(kl.sum(1).mean() > self.floor, kl, self.floor / kl.shape[1]) if self.floor else kl

    def term(self, draw: Draw, model: Model) -> Tensor:
        """The value of the batch, (B,) times the same number of nats."""
        mean, scale = diagonal(draw.q, "MAE")
        compared(draw, "mean", "MAE")
        value = exact(torch.zeros((), device=mean.device))
        if self.eta:
            value = value - self.eta * nn.functional.logsigmoid(mean_pairwise_kl(mean, scale) / self.eta).sum()
        if self.gamma:
            value = value + self.gamma * deviation_of_kl(mean, scale)
        return value.to(mean.dtype).expand(len(mean))

    def extra_repr(self) -> str:
        """Shown by `print`."""
        return f"eta={self.eta:g}, gamma={self.gamma:g}, floor={self.floor:g}, weight={shown(self.weight)}"


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances (B, M) of points (B, D) from points (M, D), from one matrix product."""
    shift = b.detach().mean(0)  # the common part would cancel badly
    a, b = a - shift, b - shift
    lengths = a.square().sum(1, keepdim=True) + b.square().sum(1)
    return (lengths - 2 * a @ b.T).clamp(min=0)


def off_diagonal(square: Tensor) -> Tensor:
    """The entries (B, B - 1) beside the diagonal of a matrix (B, B), row by row."""
    rows = len(square)
    return square.flatten()[1:].view(rows - 1, rows + 1)[:, :-1].reshape(rows, rows - 1)
