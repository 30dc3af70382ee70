"""Posteriors and priors that cannot meet: the KL of every input has a floor."""

import math
from collections.abc import Sequence
from typing import Any, Literal, cast, get_args

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, Independent, Normal, constraints, register_kl

from uncollapse.distributions import diagonal
from uncollapse.errors import BadInput
from uncollapse.functional import LOG_2PI
from uncollapse.wrappers.base import Wrapper

__all__ = ["AutoregressivePrior", "MinimumRate"]

Sign = Literal["kept", "positive"]


class MinimumRate(Wrapper):
    r"""Every latent's KL from N(0, 1) is at least delta, for every input.

    The scale is kept in the interval in which a mean can exist, and the mean is pushed outward:
    $\sigma = l + (u - l)\,\mathrm{sig}(\log s^2)$, where $l^2 < u^2$ solve $\log v - v + 2\delta + 1 = 0$, and
    $c(\sigma) = 2\delta + 1 + \log\sigma^2 - \sigma^2 \ge 0$; m and s are what the model inside says.

    - `kept`: $\mu = \operatorname{sgn}(m)\sqrt{c + m^2}$, so $\mathrm{KL} = \delta + m^2/2$. The sign of m carries
      information; the mean jumps where m changes sign.
    - `positive`: $\mu = \sqrt{c + \max(m, 0)}$, so $\mathrm{KL} = \delta + \max(m, 0)/2$, as in published code. All
      means are positive: one bit a latent is lost, the aggregate posterior is far from the prior, and where m < 0 the
      mean has no gradient but through the scale.

    A floor is not information: an encoder that answers the same for every input meets it exactly.

    Arguments:
        model: a model with a diagonal Gaussian posterior and the prior N(0, I).
        delta: nats per latent, positive; the total floor is D times delta.
        sign: "kept" or "positive".

    Raises:
        BadInput: when an argument is out of range.
        Unsupported: when the posterior is not a diagonal Gaussian.

    References:
        Razavi et al., 2019, https://arxiv.org/abs/1901.03416, section 2 and eq. 4;
        the independent form with a square root as in the code of Zhu et al., 2020, https://arxiv.org/abs/2004.12585.

    Example:
        >>> from uncollapse import VAE, draw
        >>> model = MinimumRate(VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4), delta=0.5)
        >>> bool((draw(model, torch.rand(9, 16)).kl > 0.5 - 1e-5).all())
        True
    """

    sources = (
        "Razavi et al., 2019, Preventing Posterior Collapse with delta-VAEs, https://arxiv.org/abs/1901.03416",
        "Zhu et al., 2020, A Batch Normalized Inference Network Keeps the KL Vanishing Away, "
        "https://arxiv.org/abs/2004.12585",
    )
    side = "encoder"

    def __init__(self, model: Any, delta: float = 0.1, sign: Sign = "kept") -> None:
        super().__init__(model)
        if isinstance(delta, bool) or not isinstance(delta, int | float) or not 0 < delta < math.inf:
            raise BadInput(f"delta of MinimumRate should be a positive number of nats per latent, got {delta!r}")
        if sign not in get_args(Sign):
            raise BadInput(f"sign should be one of {', '.join(get_args(Sign))}, got {sign!r}")
        self.delta, self.sign = float(delta), sign
        self.interval = scale_interval(self.delta)

    def posterior(self, x: Tensor) -> Distribution:
        """q(z|x), at least delta nats from N(0, 1) in every latent: batch (B,), event (D,)."""
        m, s = diagonal(self.model.posterior(x), type(self).__name__)
        low, high = self.interval
        scale = low + (high - low) * (2 * s.log()).sigmoid()
        room = (2 * self.delta + 1 + 2 * scale.log() - scale.square()).clamp_min(0)
        if self.sign == "positive":
            mean = (room + m.clamp_min(0) + TINY).sqrt()
        else:
            mean = torch.where(m < 0, -1.0, 1.0).to(m) * (room + m.square() + TINY).sqrt()
        return Independent(Normal(mean, scale, validate_args=False), 1, validate_args=False)

    def floor(self) -> float:
        """What the KL from N(0, I) of any input cannot fall below, nats."""
        return float(self.prior().event_shape[0] * self.delta)

    def extra_repr(self) -> str:
        """Shown by `print`."""
        return f"delta={self.delta:g}, sign={self.sign!r}"


TINY = 1e-6  #: keeps the slope of the square root finite


def scale_interval(delta: float) -> tuple[float, float]:
    r"""Between which standard deviations a mean can make the KL delta: roots of $\log v - v + 2\delta + 1$, v = scale².

    Example:
        >>> [round(end, 3) for end in scale_interval(0.15)]
        [0.641, 1.409]
    """

    def root(inside: float, outside: float) -> float:
        for _ in range(200):
            middle = (inside + outside) / 2
            if math.log(middle) - middle + 2 * delta + 1 > 0:
                inside = middle
            else:
                outside = middle
        return inside

    return math.sqrt(root(1.0, math.exp(-2 * delta - 2))), math.sqrt(root(1.0, 4 * delta + 4))


class AutoregressivePrior(Wrapper):
    r"""The prior is slow, the posterior is not: latents are a series of n steps that the prior ties together.

    $p(z)$: $z_1 \sim \mathcal N(0, 1)$, $z_t = \alpha z_{t-1} + \sqrt{1 - \alpha^2}\,\varepsilon_t$, for each of k
    channels; D = n k with the steps outermost. A posterior that is independent over time cannot match it:
    $\mathrm{KL} \ge \tfrac12 \sum_k \big[(n-2)\log(1+\alpha_k^2) - \log(1-\alpha_k^2)\big]$, for every input.

    The KL of a diagonal Gaussian has a closed form, one number per example, (B, 1). The floor is not information: it is
    met by $\mu = 0$ and the scales that suit the prior best. A series that moves slowly costs least, so what the
    encoder says is pushed towards slow features.

    Arguments:
        model: a model whose posterior is independent between latents.
        length: n, at least 2, a divisor of D.
        alpha: in (-1, 1), one number or one a channel.

    Raises:
        BadInput: when an argument is out of range.

    References:
        Razavi et al., 2019, https://arxiv.org/abs/1901.03416, section 2.1 and appendix.

    Example:
        >>> from uncollapse import VAE, draw
        >>> model = AutoregressivePrior(VAE(nn.Linear(16, 12), nn.Linear(6, 16), latent=6), length=6, alpha=0.7)
        >>> round(model.floor(), 4)
        1.1342
        >>> bool((draw(model, torch.rand(9, 16)).kl > model.floor()).all())
        True
    """

    sources = ("Razavi et al., 2019, Preventing Posterior Collapse with delta-VAEs, https://arxiv.org/abs/1901.03416",)
    side = "prior"

    def __init__(self, model: Any, length: int, alpha: float | Sequence[float] = 0.9) -> None:
        super().__init__(model)
        latent = model.prior().event_shape[0]
        if isinstance(length, bool) or not isinstance(length, int) or length < 2 or latent % length:
            raise BadInput(f"length should be at least 2 and divide the {latent} latents, got {length!r}")
        alphas = [alpha] * (latent // length) if isinstance(alpha, int | float) else list(alpha)
        if len(alphas) != latent // length or not all(-1 < one < 1 for one in alphas):
            raise BadInput(f"alpha should be in (-1, 1), one or {latent // length} numbers, got {alpha!r}")
        self.length = length
        self.register_buffer("alpha", torch.tensor(alphas, dtype=torch.get_default_dtype()))

    def prior(self) -> "Autoregressive":
        """p(z): batch (), event (D,)."""
        return Autoregressive(cast(Tensor, self.alpha), self.length)

    def floor(self) -> float:
        """What the KL of any input cannot fall below, nats."""
        square = cast(Tensor, self.alpha).double().square()
        return float(0.5 * ((self.length - 2) * square.log1p() - (-square).log1p()).sum())

    def extra_repr(self) -> str:
        """Shown by `print`."""
        return f"length={self.length}, alpha={[round(one, 4) for one in cast(Tensor, self.alpha).tolist()]}"


class Autoregressive(Distribution):
    r"""Series of n steps and k channels, each stationary: $z_t = \alpha z_{t-1} + \sqrt{1 - \alpha^2}\,\varepsilon_t$.

    Arguments:
        alpha: (k,), in (-1, 1).
        length: n; the event is (n k,), steps outermost.

    Example:
        >>> Autoregressive(torch.tensor([0.5, 0.9]), 3).sample((4,)).shape
        torch.Size([4, 6])
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012  (the base class declares it so)
    support = constraints.real_vector

    def __init__(self, alpha: Tensor, length: int) -> None:
        self.alpha, self.length = alpha, length
        super().__init__(Size(), Size((length * len(alpha),)), validate_args=False)

    @property
    def mean(self) -> Tensor:
        """Zero, (D,)."""
        return self.alpha.new_zeros(self.event_shape)

    @property
    def variance(self) -> Tensor:
        """One, (D,)."""
        return self.alpha.new_ones(self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of points (*, D), (*) nats."""
        return -0.5 * (self.energy(value) + self.event_shape[0] * LOG_2PI)

    def energy(self, mean: Tensor, variance: Tensor | float = 0.0) -> Tensor:
        """Mean of the squared residuals over their variance, plus log variances; (*, D) gives (*)."""
        shape = (*mean.shape[:-1], self.length, -1)
        z = mean.reshape(shape)
        spread = (mean.new_zeros(()) + variance).expand_as(mean).reshape(shape)
        noise = 1 - self.alpha.square()
        first: Tensor = z[..., 0, :].square() + spread[..., 0, :]
        later = (z[..., 1:, :] - self.alpha * z[..., :-1, :]).square()
        later = later + spread[..., 1:, :] + self.alpha.square() * spread[..., :-1, :]
        return first.sum(-1) + (later / noise).sum((-1, -2)) + (self.length - 1) * noise.log().sum()

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Points (*S, D), without gradient."""
        with torch.no_grad():
            shape = (*Size(sample_shape), self.length, len(self.alpha))
            noise = torch.randn(shape, dtype=self.alpha.dtype, device=self.alpha.device)
            steps = [noise[..., 0, :]]
            for t in range(1, self.length):
                steps.append(self.alpha * steps[-1] + (1 - self.alpha.square()).sqrt() * noise[..., t, :])
            return torch.stack(steps, -2).flatten(-2)


@register_kl(Independent, Autoregressive)  # type: ignore[no-untyped-call, untyped-decorator]
def kl_autoregressive(q: Any, p: Autoregressive) -> Tensor:
    """KL of a diagonal Gaussian (B,) from a series, (B,) nats."""
    if not isinstance(q.base_dist, Normal):
        raise NotImplementedError
    mean, scale = q.base_dist.loc, q.base_dist.scale
    with torch.autocast(mean.device.type, enabled=False):
        return 0.5 * (p.energy(mean, scale.square()) - mean.shape[-1]) - scale.log().sum(-1)
