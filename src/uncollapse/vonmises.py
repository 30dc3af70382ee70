r"""The von Mises-Fisher distribution on the unit sphere, with a fixed concentration, and the uniform one.

Symbols: D dimension of the space, so the sphere is $S^{D-1}$; $\mu$ the mean direction, (B, D), of unit length;
$\kappa$ the concentration; $w = \mu^\top z$. Densities are with respect to the surface of the sphere.

Everything follows from one series. With $v = (1 + w) / 2$ and $a = (D - 1) / 2$, the height w has the density

$$p(w) \propto (1-w^2)^{a-1} e^{\kappa w} \propto \sum_n \frac{(2\kappa)^n}{n!}\, v^{a+n-1} (1-v)^{a-1},$$

a mixture of Beta(a + n, a). Its weights give the sampler (draw n, then v: exact, nothing is rejected), its sum the
constant $f(\kappa) = e^{-\kappa}\,{}_1F_1(a; 2a; 2\kappa) = \Gamma(\nu+1)\,(2/\kappa)^{\nu} I_\nu(\kappa)$,
$\nu = D/2 - 1$, by which the density exceeds the uniform one, and its mean the length $A = I_{\nu+1}/I_\nu$. All terms
are positive, so nothing cancels, at any D and without a Bessel function.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, Gamma, constraints, register_kl
from torch.nn import functional as F

from uncollapse.errors import BadInput, ShapeError

__all__ = ["VMF", "Series", "UniformSphere", "series"]

LARGEST = 1e6  #: concentration up to which the table of weights stays small (2 million numbers)


class Series(NamedTuple):
    """What the series of one dimension and one concentration gives.

    Attributes:
        log_constant: log f, nats.
        length: A, the length of the mean.
        rate: KL from the uniform distribution, nats: kappa A - log f.
        steps: (N,) cumulative weights of the mixture, in float64 on the CPU.
    """

    log_constant: float
    length: float
    rate: float
    steps: Tensor


@lru_cache(maxsize=16)
def series(dimension: int, concentration: float) -> Series:
    r"""Sum the series for one dimension and one concentration.

    Arguments:
        dimension: D, at least 2.
        concentration: kappa, in (0, 1e6].

    Raises:
        BadInput: when one of them is out of range.

    Example:
        >>> [round(series(32, kappa).rate, 4) for kappa in (13, 25, 50, 100)]
        [2.1726, 5.7554, 12.2534, 20.7585]
    """
    if isinstance(dimension, bool) or not isinstance(dimension, int) or dimension < 2:
        raise BadInput(f"a sphere needs at least 2 dimensions, got {dimension!r}")
    if isinstance(concentration, bool) or not isinstance(concentration, int | float):
        raise BadInput(f"the concentration should be one fixed number, got {concentration!r}")
    if not 0 < concentration <= LARGEST:
        raise BadInput(f"the concentration should be above 0 and at most {LARGEST:g}, got {concentration!r}")
    a, mean = (dimension - 1) / 2, 2.0 * concentration
    # n given v is Poisson with mean 2 kappa v, at most 2 kappa: so many terms leave out less than 1e-30.
    n = torch.arange(int(mean + 12 * math.sqrt(mean)) + 60, dtype=torch.float64, device="cpu")
    logs = n * math.log(mean) - torch.lgamma(n + 1) + torch.lgamma(a + n) - torch.lgamma(2 * a + n)
    total = float(logs.logsumexp(0))
    weights = (logs - total).exp()
    weights = weights / weights.sum()
    log_constant = total + math.lgamma(2 * a) - math.lgamma(a) - concentration
    length = float((weights * (n / (2 * a + n))).sum())  # E[2v - 1], without the difference
    return Series(log_constant, length, max(concentration * length - log_constant, 0.0), weights.cumsum(0))


@lru_cache(maxsize=16)
def steps_on(dimension: int, concentration: float, device: torch.device) -> Tensor:
    """The cumulative weights on a device; kept, so that no step waits for a copy."""
    return series(dimension, concentration).steps.to(device)


def log_surface(dimension: int) -> float:
    """Logarithm of the surface of the unit sphere in D dimensions."""
    return math.log(2) + 0.5 * dimension * math.log(math.pi) - math.lgamma(0.5 * dimension)


class VMF(Distribution):
    r"""Von Mises-Fisher distribution, $q(z) \propto e^{\kappa \mu^\top z}$ on the unit sphere.

    Samples are reparametrised in mu: a Householder reflection, smooth in mu and different for its two hemispheres,
    takes a sample round the pole to one round mu. The concentration is a number, not a tensor: it has no gradient.

    Arguments:
        direction: mu, (*L, D), of unit length (which is not checked).
        concentration: kappa, one number in (0, 1e6] for all.

    Raises:
        ShapeError: when there is no direction to speak of.
        BadInput: when D is below 2 or kappa out of range.

    References:
        Davidson et al., 2018, https://arxiv.org/abs/1804.00891, for the reparametrisation by reflection;
        Xu, Durrett, 2018, https://arxiv.org/abs/1808.10805, for a fixed kappa.

    Example:
        >>> q = VMF(torch.eye(3), 10.0)
        >>> q.sample((5,)).norm(dim=-1).sub(1).abs().max().item() < 1e-5
        True
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012  (the base class declares it so)
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, direction: Tensor, concentration: float) -> None:
        if not isinstance(direction, Tensor) or direction.ndim < 1 or not direction.is_floating_point():
            raise ShapeError("a von Mises-Fisher distribution needs mean directions (*L, D) in floating point")
        self.direction, self.concentration = direction, concentration
        self.series = series(direction.shape[-1], concentration)
        super().__init__(direction.shape[:-1], direction.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """A mu, (*L, D): inside the sphere, not on it."""
        return self.series.length * self.direction

    @property
    def mode(self) -> Tensor:
        """mu, (*L, D)."""
        return self.direction

    @property
    def variance(self) -> Tensor:
        """Of every coordinate, (*L, D)."""
        d, length, square = self.event_shape[0], self.series.length, self.direction.square()
        across = length / self.concentration  # variance of a coordinate at right angles to mu
        return (1 - (d - 1) * across - length**2) * square + across * (1 - square)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of unit vectors (*, D), nats."""
        constant = self.series.log_constant + log_surface(self.event_shape[0])
        return self.concentration * (value * self.direction).sum(-1) - constant

    def entropy(self) -> Tensor:
        """Differential entropy on the sphere, (*L,) nats."""
        return self.direction.new_full(self.batch_shape, log_surface(self.event_shape[0]) - self.series.rate)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Unit vectors (*S, *L, D), without gradient."""
        with torch.no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Unit vectors (*S, *L, D), with gradient to the directions."""
        shape = self._extended_shape(Size(sample_shape))
        w, radius = self.heights(shape[:-1])
        mu = self.direction
        noise = torch.randn(*shape[:-1], shape[-1] - 1, dtype=mu.dtype, device=mu.device)
        # Round the pole that is farther from mu, so that the reflection is never one of a vector with itself.
        pole = 1 - 2 * (mu[..., :1] >= 0).to(mu.dtype)
        at_pole = torch.cat([pole * w, radius * F.normalize(noise, dim=-1)], -1)
        mirror = torch.cat([mu[..., :1] - pole, mu[..., 1:]], -1)
        return at_pole - mirror * ((mirror * at_pole).sum(-1, keepdim=True) / (1 + mu[..., :1].abs()))

    def heights(self, shape: Size) -> tuple[Tensor, Tensor]:
        """Samples of w and sqrt(1 - w²), (*shape, 1) each, by the mixture of Beta distributions."""
        device = self.direction.device
        exact = torch.device("cpu") if device.type == "mps" else device  # MPS has no float64
        steps = steps_on(self.event_shape[0], self.concentration, exact)
        a = (self.event_shape[0] - 1) / 2
        n = torch.searchsorted(steps, torch.rand(*shape, 1, dtype=steps.dtype, device=exact)).clamp(max=len(steps) - 1)
        shapes = torch.stack([a + n, torch.full_like(steps[:1], a).expand_as(n)])
        up, down = Gamma(shapes, torch.ones_like(shapes), validate_args=False).sample()
        v, rest = up / (up + down), down / (up + down)
        return (v - rest).to(self.direction), (2 * (v * rest).sqrt()).to(self.direction)


class UniformSphere(Distribution):
    """The uniform distribution on the unit sphere.

    Arguments:
        dimension: D, at least 2.
        device, dtype: of its samples.

    Raises:
        BadInput: when D is below 2.

    Example:
        >>> p = UniformSphere(3)
        >>> round(p.log_prob(p.sample()).exp().item() * 4 * torch.pi, 5)
        1.0
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012  (the base class declares it so)
    support = constraints.real_vector

    def __init__(
        self, dimension: int, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> None:
        if isinstance(dimension, bool) or not isinstance(dimension, int) or dimension < 2:
            raise BadInput(f"a sphere needs at least 2 dimensions, got {dimension!r}")
        self.zero = torch.zeros(dimension, device=device, dtype=dtype)
        super().__init__(Size(), Size((dimension,)), validate_args=False)

    @property
    def mean(self) -> Tensor:
        """0, (D,)."""
        return self.zero

    @property
    def variance(self) -> Tensor:
        """1 / D, (D,)."""
        return torch.full_like(self.zero, 1 / len(self.zero))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of unit vectors (*, D), (*) nats: the same everywhere."""
        return value.new_full(value.shape[:-1], -log_surface(len(self.zero)))

    def entropy(self) -> Tensor:
        """Logarithm of the surface, nats."""
        return self.zero.new_tensor(log_surface(len(self.zero)))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Unit vectors (*S, D)."""
        noise = torch.randn(*Size(sample_shape), len(self.zero), dtype=self.zero.dtype, device=self.zero.device)
        return F.normalize(noise, dim=-1)


@register_kl(VMF, UniformSphere)  # type: ignore[no-untyped-call, untyped-decorator]
def rate(q: VMF, prior: UniformSphere) -> Tensor:
    """KL from the uniform distribution, (*L,) nats: the same for every direction."""
    if q.event_shape != prior.event_shape:
        raise ShapeError(f"posterior and prior live in {q.event_shape[0]} and {prior.event_shape[0]} dimensions")
    return q.direction.new_full(q.batch_shape, q.series.rate)
