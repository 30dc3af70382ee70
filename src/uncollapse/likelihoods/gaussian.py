"""Gaussian likelihoods whose noise is learned: one deviation for all values, or one for every value."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from uncollapse.distributions import observation, precise
from uncollapse.errors import BadInput
from uncollapse.likelihoods.planes import above, halves, log_least

__all__ = ["LearnedGaussian", "SharedGaussian"]

SMALLEST = math.exp(-6)  #: of the deviation, as in the code of the sigma-VAE


class SharedGaussian(nn.Module):
    r"""Reader of a Gaussian likelihood whose one standard deviation is a parameter of the model: the sigma-VAE.

    $\log p(x|z) = \sum_j \log \mathcal N(x_j; \hat x_j, \sigma^2)$, where
    $\log\sigma = l + \mathrm{softplus}(s - l)$ with the parameter s and the bound l keeps sigma from vanishing.
    At its best, $\sigma^2$ is the mean squared error, so nobody has to balance squared error against KL by hand.

    Arguments:
        scale: sigma at the start, in the units of the data.
        smallest: bound of sigma, in the units of the data.

    Attributes:
        planes: 1; numbers that the decoder gives for every value.
        learns_noise: True: the deviation before training says nothing about the one after.

    Raises:
        BadInput: when a deviation is not positive, or `scale` is not above `smallest`.

    References:
        Rybkin, Daniilidis, Levine, 2021, https://arxiv.org/abs/2006.13202, section 4.1.

    Example:
        >>> reader = SharedGaussian(0.5)
        >>> reader(torch.zeros(3, 16)).log_prob(torch.zeros(3, 16)).shape, round(reader.scale.item(), 4)
        (torch.Size([3]), 0.5)
    """

    planes = 1
    learns_noise = True

    def __init__(self, scale: float = 1.0, smallest: float = SMALLEST) -> None:
        super().__init__()
        self.least, start = log_least("SharedGaussian", smallest), log_least("SharedGaussian", scale)
        if not scale > smallest:
            raise BadInput(f"the deviation should start above its bound {smallest:g}, got {scale:g}")
        above_least = start - self.least
        self.start = start if above_least > 50 else self.least + math.log(math.expm1(above_least))  # softplus undone
        self.log_scale = nn.Parameter(torch.empty(()))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Back to the deviation of the start."""
        self.log_scale.fill_(self.start)

    @property
    def scale(self) -> Tensor:
        """Sigma, in the units of the data."""
        return above(precise(self.log_scale), self.least).exp()

    def forward(self, raw: Any) -> Distribution:
        """Read the decoder's output as means."""
        if isinstance(raw, Distribution):
            return raw
        mean = observation(raw)
        normal = Normal(mean, self.scale.to(mean).expand_as(mean), validate_args=False)
        return Independent(normal, mean.ndim - 1, validate_args=False)

    def extra_repr(self) -> str:
        """Shown by `print`."""
        return f"smallest={math.exp(self.least):.4g}"


class LearnedGaussian(nn.Module):
    r"""Reader of a Gaussian likelihood with a mean and a standard deviation for every value.

    $\log p(x|z) = \sum_j \log \mathcal N\big(x_j; \hat x_j, \sigma_j(z)^2\big)$. Without a bound this likelihood is
    unbounded: a value that a code predicts exactly is worth any number of nats. The bound is the argument `smallest`.

    Arguments:
        smallest: bound of the deviations, in the units of the data. Half the distance of two stored levels (1/510 for
            bytes that were divided by 255) is a sensible choice.

    The decoder gives (B, 2C, ...): the first half means, the second half s in
    $\log\sigma = l + \mathrm{softplus}(s - l)$.

    Attributes:
        planes: 2; numbers that the decoder gives for every value.
        learns_noise: True: the deviations before training say nothing about those after.

    Raises:
        BadInput: when the bound is not positive.

    References:
        Rybkin, Daniilidis, Levine, 2021, https://arxiv.org/abs/2006.13202, section 3, on what goes wrong without.

    Example:
        >>> LearnedGaussian()(torch.zeros(3, 32)).log_prob(torch.zeros(3, 16)).shape
        torch.Size([3])
    """

    planes = 2
    learns_noise = True

    def __init__(self, smallest: float = SMALLEST) -> None:
        super().__init__()
        self.least = log_least("LearnedGaussian", smallest)

    def forward(self, raw: Any) -> Distribution:
        """Read the decoder's output as means and log deviations."""
        if isinstance(raw, Distribution):
            return raw
        mean, log_scale = halves(raw, "LearnedGaussian")
        scale = above(log_scale, self.least).exp()
        return Independent(Normal(mean, scale, validate_args=False), mean.ndim - 1, validate_args=False)

    def extra_repr(self) -> str:
        """Shown by `print`."""
        return f"smallest={math.exp(self.least):.4g}"
