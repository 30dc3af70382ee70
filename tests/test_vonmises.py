import math

import pytest
import torch
from scipy import special
from torch.distributions import VonMises, kl_divergence

from uncollapse.distributions import kl_per_dimension
from uncollapse.errors import BadInput, ShapeError
from uncollapse.vonmises import VMF, UniformSphere, series


def unit(*shape, seed=0, dtype=torch.float64):
    z = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return z / z.norm(dim=-1, keepdim=True)


def height_density(dimension, kappa, points=20000):
    """Angles from the pole and the probability of each small interval, summed by brute force."""
    angle = (torch.arange(points, dtype=torch.float64) + 0.5) * math.pi / points
    logs = kappa * (angle.cos() - 1) + (dimension - 2) * angle.sin().clamp(min=1e-300).log()
    return angle, logs.exp() / logs.exp().sum()


@pytest.mark.parametrize(("kappa", "rate"), [(13, 2.1726), (25, 5.7554), (50, 12.2534), (100, 20.7585)])
def test_published_rates(kappa, rate):
    assert series(32, kappa).rate == pytest.approx(rate, abs=5e-5)


@pytest.mark.parametrize("dimension", [2, 3, 4, 10, 32, 101])
@pytest.mark.parametrize("kappa", [0.3, 1, 13, 100, 5000.0])
def test_equals_scipys_bessel_functions(dimension, kappa):
    nu, found = dimension / 2 - 1, series(dimension, kappa)
    low, high = special.ive(nu, kappa), special.ive(nu + 1, kappa)
    if low < 1e-280 or high < 1e-280:
        pytest.skip("scipy underflows")
    exact = math.log(low) + kappa + math.lgamma(nu + 1) - nu * math.log(kappa / 2)
    assert found.log_constant == pytest.approx(exact, rel=1e-10, abs=1e-11)
    assert found.length == pytest.approx(high / low, rel=1e-10)


@pytest.mark.parametrize("dimension", [2, 32, 1024])
@pytest.mark.parametrize("kappa", [1e-4, 1.0, 512.0, 1e4])
def test_extremes_equal_sixty_digits(dimension, kappa):
    mp = pytest.importorskip("mpmath").mp
    with mp.workdps(60):
        nu, k = mp.mpf(dimension) / 2 - 1, mp.mpf(kappa)
        low, high = mp.besseli(nu, k), mp.besseli(nu + 1, k)
        log_constant = mp.log(low) + mp.loggamma(nu + 1) - nu * mp.log(k / 2)
        length, rate = high / low, k * high / low - log_constant
    found = series(dimension, kappa)
    assert found.log_constant == pytest.approx(float(log_constant), rel=1e-10, abs=1e-10)
    assert found.length == pytest.approx(float(length), rel=1e-10)
    assert found.rate == pytest.approx(float(rate), rel=1e-9, abs=1e-10)


def test_the_circle_is_torchs_von_mises():
    q, angles = VMF(torch.tensor([math.cos(1.0), math.sin(1.0)]), 3.0), torch.linspace(-3, 3, 50)
    points = torch.stack([angles.cos(), angles.sin()], 1)
    assert torch.allclose(q.log_prob(points), VonMises(1.0, 3.0).log_prob(angles), atol=1e-5)


@pytest.mark.parametrize("dimension", [2, 3, 7, 32])
@pytest.mark.parametrize("kappa", [0.5, 20.0])
def test_constant_entropy_and_rate_by_quadrature(dimension, kappa):
    angle, share = height_density(dimension, kappa)
    q, p = VMF(unit(dimension), kappa), UniformSphere(dimension, dtype=torch.float64)
    z = angle.cos()[:, None] * q.direction + angle.sin()[:, None] * across(q.direction)
    assert q.entropy() == pytest.approx(float(-(share * q.log_prob(z)).sum()), abs=1e-4)
    ratio = float((share * (q.log_prob(z) - p.log_prob(z))).sum())
    assert kl_divergence(q, p) == pytest.approx(ratio, abs=1e-4)
    assert p.entropy() - q.entropy() == pytest.approx(ratio, abs=1e-4)


def across(direction):
    """A unit vector at right angles to a direction."""
    other = torch.zeros_like(direction)
    other[..., 0], other[..., 1] = -direction[..., 1], direction[..., 0]
    return other / other.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize("dimension", [2, 3, 8, 64])
@pytest.mark.parametrize("kappa", [0.2, 5.0, 300.0])
def test_heights_of_samples_follow_their_density(dimension, kappa):
    torch.manual_seed(0)
    n = 20000
    q = VMF(unit(dimension), kappa)
    z = q.sample((n,))
    assert torch.allclose(z.norm(dim=1), torch.ones(n, dtype=torch.float64))
    found = (z @ q.direction).clamp(-1, 1).acos().sort().values
    angle, share = height_density(dimension, kappa)
    distribution = share.cumsum(0)[torch.searchsorted(angle, found).clamp(max=len(angle) - 1)]
    distance = (distribution - torch.arange(1, n + 1) / n).abs().max()
    assert distance < 1.95 / math.sqrt(n)  # Kolmogorov and Smirnov, one in a thousand


@pytest.mark.parametrize("first", [0.9999999, 0.3, -0.3, -0.9999999])
@pytest.mark.parametrize("dimension", [2, 5])
def test_moments(first, dimension):
    torch.manual_seed(0)
    mu = torch.cat([torch.tensor([first]).double(), math.sqrt(1 - first**2) * unit(dimension - 1)])
    q = VMF(mu, 4.0)
    z = q.sample((40000,))
    assert torch.allclose(z.mean(0), q.mean, atol=0.02)
    assert torch.allclose(z.var(0), q.variance, atol=0.02)
    assert q.mode is mu
    side = z - (z @ mu)[:, None] * mu
    assert side.mean(0).abs().max() < 0.02


@pytest.mark.parametrize("seed", range(4))
def test_gradient_reaches_the_direction_unbiased(seed):
    """E[a'z] = A a'mu and E[(a'z)^2] = c |a|^2 + (1 - D c)(a'mu)^2 with c = A / kappa: their gradients are known."""
    torch.manual_seed(seed)
    d, kappa = 4, 6.0
    raw, a = unit(d, seed=seed).requires_grad_(), unit(d, seed=seed + 50)
    mu = raw / raw.norm()
    q = VMF(mu, kappa)
    height = q.rsample((60000,)) @ a
    length = q.series.length
    for value, exact in (
        (height.mean(), length * (a @ mu)),
        (height.square().mean(), (1 - d * length / kappa) * (a @ mu).square()),
    ):
        found, known = (torch.autograd.grad(one, raw, retain_graph=True)[0] for one in (value, exact))
        assert torch.allclose(found, known, atol=0.01)


def test_a_batch():
    torch.manual_seed(0)
    q, p = VMF(unit(5, 3, dtype=torch.float32), 7.0), UniformSphere(3)
    assert (q.batch_shape, q.event_shape, p.batch_shape, p.event_shape) == ((5,), (3,), (), (3,))
    z = q.rsample((2,))
    assert z.shape == (2, 5, 3)
    assert z.dtype == torch.float32
    slow = [[VMF(q.direction[j], 7.0).log_prob(z[k, j]) for j in range(5)] for k in range(2)]
    assert torch.allclose(q.log_prob(z), torch.tensor(slow), atol=1e-5)
    assert q.log_prob(z[:, :, None]).shape == (2, 5, 5)
    assert kl_per_dimension(q, p).shape == (5, 1)
    assert p.sample((2, 5)).shape == (2, 5, 3)
    assert p.log_prob(z).shape == (2, 5)
    assert torch.allclose(p.log_prob(z).exp(), torch.tensor(1 / (4 * math.pi)))


def test_uniform_moments():
    torch.manual_seed(0)
    p = UniformSphere(6)
    z = p.sample((20000,))
    assert torch.allclose(z.mean(0), p.mean, atol=0.02)
    assert torch.allclose(z.var(0), p.variance, atol=0.01)


def test_refusals():
    for dimension, kappa in ((1, 3.0), (True, 3.0), (4, 0.0), (4, -1.0), (4, math.nan), (4, 1e7), (4, torch.ones(3))):
        with pytest.raises((BadInput, TypeError)):
            series(dimension, kappa)
    with pytest.raises(BadInput, match="at least 2"):
        UniformSphere(1)
    with pytest.raises(ShapeError):
        VMF(torch.tensor(3), 2.0)
    with pytest.raises(ShapeError, match="3 and 4"):
        kl_divergence(VMF(unit(3), 2.0), UniformSphere(4))
