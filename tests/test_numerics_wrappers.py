"""Wrappers, distributions and the functions they share, at extreme scales, against sums that take no short cut."""

import inspect
import math
import os

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.distributions import kl_divergence

from uncollapse import wrappers
from uncollapse.distributions import bernoulli, diagonal, gaussian, kl_per_dimension, standard_normal
from uncollapse.draw import VAE, draw
from uncollapse.errors import BadInput, ShapeError, UncollapseError
from uncollapse.functional import gaussian_columns, gaussian_kl, info_nce, pairwise_log_prob
from uncollapse.testing.extremes import LAYOUTS, examples, gaussians, layouts, seeds
from uncollapse.vonmises import VMF, UniformSphere, series
from uncollapse.wrappers.vamp import GaussianMixture

X = 6


class Encoder(nn.Module):
    """Means and scales of a chosen size, which differ from input to input."""

    def __init__(self, latent, size, scale):
        super().__init__()
        self.layer, self.size, self.level = nn.Linear(X, latent), size, 2 * math.log(scale)

    def forward(self, x):
        mean = self.size * torch.tanh(self.layer(x))
        return mean, 0 * mean + self.level


def model_of(latent, size, scale):
    torch.manual_seed(0)
    return VAE(Encoder(latent, size, scale), nn.Linear(latent, X), latent)


MADE = {
    "AutoregressivePrior": lambda m, d: wrappers.AutoregressivePrior(m, length=d),
    "BatchNormMean": lambda m, d: wrappers.BatchNormMean(m),
    "BatchNormMean, tau": lambda m, d: wrappers.BatchNormMean(m, tau=0.5),
    "BatchNormMean, renormalise": lambda m, d: wrappers.BatchNormMean(m, renormalise=True),
    "FlowPrior": lambda m, d: wrappers.FlowPrior(m, kind="maf", hidden=(8,)),
    "FlowPrior, nsf": lambda m, d: wrappers.FlowPrior(m, hidden=(8,)),
    "MinimumRate": lambda m, d: wrappers.MinimumRate(m, delta=0.5),
    "MinimumRate, positive": lambda m, d: wrappers.MinimumRate(m, delta=1e-3, sign="positive"),
    "ScaledMean": lambda m, d: wrappers.ScaledMean(m),
    "SemiAmortised": lambda m, d: wrappers.SemiAmortised(m, steps=2),
    "VampPrior": lambda m, d: wrappers.VampPrior(m, (X,), pseudo_inputs=5),
    "VonMisesFisher": lambda m, d: wrappers.VonMisesFisher(m, kappa=50),
    "WordDropout": lambda m, d: wrappers.WordDropout(m, rate=0.0),
}


def test_every_wrapper_is_here():
    kinds = {name for name in wrappers.__all__ if inspect.isclass(getattr(wrappers, name)) and name != "Wrapper"}
    assert kinds == {name.partition(",")[0] for name in MADE}


@pytest.mark.parametrize("name", MADE)
@given(st.sampled_from([1e-8, 1e-3, 1.0, 1e4]), st.sampled_from([0.0, 1.0, 1e4]), st.integers(2, 6), seeds())
@examples(6)
def test_wrapped_models_are_finite(name, scale, size, rows, seed):
    """In training and in evaluation: densities, divergence and gradient."""
    x = torch.rand(rows, X, generator=torch.Generator().manual_seed(seed)).round()
    model = MADE[name](model_of(3, size, scale), 3)
    for mode in (True, False):
        model.train(mode)
        one = draw(model, x, samples=2)
        assert one.kl.isfinite().all()
        assert one.log_px.isfinite().all()
        assert one.z.isfinite().all()
        assert one.elbo.isfinite().all()
        if one.kl.shape[1] == 3:
            assert (one.kl > -1e-5 * (1 + one.kl.abs().max())).all()
        model.zero_grad()
        (-one.elbo.sum()).backward()
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    alike = MADE[name](model_of(3, size, scale), 3)(x[:1].expand(rows, X))  # constant data
    assert alike.elbo.isfinite().all()


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("latent", [1, 4096])
def test_narrow_and_wide(name, latent):
    if latent == 4096 and name.startswith("FlowPrior") and "UNCOLLAPSE_EXAMPLES" not in os.environ:
        pytest.skip("half a minute in all: a part of `python -m soak numerics`")
    try:
        model = MADE[name](model_of(latent, 1.0, 1e-3), latent)
    except BadInput:
        assert latent == 1
        assert name in ("AutoregressivePrior", "VonMisesFisher")
        return
    one = draw(model, torch.rand(3, X).round())
    assert one.elbo.isfinite().all()


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_under_autocast(name, kind):
    model = MADE[name](model_of(3, 1.0, 1e-3), 3)
    with torch.autocast("cpu", kind):
        one = draw(model, torch.rand(5, X).round())
        assert one.kl.isfinite().all()
        assert one.elbo.dtype == torch.float32
        assert one.elbo.isfinite().all()


@given(gaussians((1, 9), (1, 3, 33)), st.sampled_from([1e-3, 0.5, 30.0, 1e4]), st.sampled_from(["kept", "positive"]))
@examples(40)
def test_the_floor_holds(gaussian, delta, sign):
    mean, scale = gaussian
    torch.manual_seed(0)
    model = VAE(nn.Linear(X, 2 * mean.shape[1]), nn.Linear(mean.shape[1], X), mean.shape[1])
    model.read_q = lambda raw: gaussian_of(mean, scale)
    kl = draw(wrappers.MinimumRate(model, delta, sign), torch.zeros(len(mean), X)).kl
    assert kl.isfinite().all()
    assert (kl > delta - 1e-5 * (1 + delta)).all()


def gaussian_of(mean, scale):
    return gaussian((mean, 2 * scale.double().log().float()))


@given(gaussians(), st.sampled_from(LAYOUTS))
@examples(40)
def test_readers_and_divergences(parts, layout):
    mean, scale = parts
    if layout == "float16":
        mean = mean.clamp(-6e4, 6e4)
    raw = layouts(mean, layout), layouts(2 * scale.log(), layout)
    q = gaussian(raw)
    m, s = diagonal(q, "a test")
    assert m.dtype in (torch.float32, torch.float64)
    assert (s > 0).all()
    kl = kl_per_dimension(q, standard_normal(mean.shape[1]))
    wide, narrow = m.double(), s.double()
    slow = 0.5 * (wide.square() + (narrow - 1) * (narrow + 1)) - narrow.log()
    assert torch.allclose(kl.double(), slow, rtol=1e-5, atol=2e-7)
    assert (kl >= 0).all()
    other = kl_divergence(q, gaussian((torch.ones_like(m), torch.zeros_like(m))))
    assert other.isfinite().all()


@given(st.floats(-1e-3, 1e-3), st.floats(-1e-3, 1e-3))
@examples(200)
def test_a_divergence_is_never_below_zero(mean, step):
    """Near the prior float32 leaves nothing of 1 + d - 1 - log(1 + d) but rounding."""
    mean, scale = torch.tensor(mean), torch.tensor(1 + step)
    found = float(gaussian_kl(mean, scale))
    with mpmath.workdps(40):
        s = mpmath.mpf(float(scale))
        slow = float((mpmath.mpf(float(mean)) ** 2 + s**2 - 1) / 2 - mpmath.log(s))
    assert found >= 0
    assert found == pytest.approx(slow, rel=1e-4, abs=1.2e-7)


def by_differences(z, mean, scale):
    """(B, M) in float64."""
    z, mean, scale = z.double(), mean.double(), scale.double()
    distance = ((z[:, None] - mean) / scale).square().sum(2)
    return -0.5 * distance - scale.log().sum(1) - 0.5 * mean.shape[1] * math.log(2 * math.pi)


@given(gaussians(), seeds(), st.booleans())
@examples(60)
def test_densities_of_all_pairs(parts, seed, near):
    mean, scale = parts
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    z = mean.double() + scale.double() * noise
    z = z if near else z.flip(0)
    leaves = [one.clone().requires_grad_() for one in (z, mean.double(), scale.double())]
    found = pairwise_log_prob(*leaves)
    slow = by_differences(z, mean, scale)
    assert torch.allclose(found, slow, rtol=1e-6, atol=2e-4)
    found.diagonal().sum().backward()
    ours = -(z - mean.double()) / scale.double().square()
    size = float(ours.abs().max())
    assert torch.allclose(leaves[0].grad, ours, rtol=1e-4, atol=1e-6 * size)
    assert all(leaf.grad.isfinite().all() for leaf in leaves)
    mixture = GaussianMixture(mean.double(), scale.double())
    assert torch.allclose(mixture.log_prob(z), slow.logsumexp(1) - math.log(len(mean)), rtol=1e-6, atol=2e-4)
    columns = gaussian_columns(mean, scale)
    if not columns.tight(z):
        assert torch.allclose(columns.log_prob(z), slow, rtol=1e-6, atol=2e-4)


@given(st.integers(1, 9), st.integers(0, 5), st.sampled_from([1.0, 1e4, 1e30]), seeds())
@examples(30)
def test_slopes_of_the_cross_entropy(rows, more, size, seed):
    scores = size * torch.randn(rows, rows + more, generator=torch.Generator().manual_seed(seed))
    leaf = scores.clone().requires_grad_()
    info_nce(leaf).sum().backward()
    slow = scores.double().softmax(1) - torch.eye(*scores.shape, dtype=torch.float64)
    assert torch.allclose(leaf.grad.double(), slow, atol=1e-6)


@pytest.mark.parametrize("dimension", [2, 3, 32, 512, 4096])
@pytest.mark.parametrize("kappa", [1e-8, 1.0, 50.0, 1e4, 1e6])
def test_spheres(dimension, kappa):
    """A constant, a length and a rate by mpmath's Bessel functions; samples of unit length."""
    found = series(dimension, kappa)
    with mpmath.workdps(50):
        nu, k = mpmath.mpf(dimension) / 2 - 1, mpmath.mpf(kappa)

        def bessel(order):  # without the factor (k / 2)^order / Gamma(order + 1), e^-k left in
            return mpmath.hyp0f1(order + 1, k * k / 4)

        log_constant = mpmath.log(bessel(nu))
        length = k / (2 * (nu + 1)) * bessel(nu + 1) / bessel(nu)
        rate = k * length - log_constant
    assert found.log_constant == pytest.approx(float(log_constant), rel=1e-9, abs=1e-9)
    assert found.length == pytest.approx(float(length), rel=1e-9)
    assert found.rate == pytest.approx(float(rate), rel=1e-7, abs=1e-7)
    torch.manual_seed(0)
    q = VMF(torch.nn.functional.normalize(torch.randn(4, dimension), dim=1), kappa)
    z = q.rsample((20,))
    assert (z.norm(dim=-1) - 1).abs().max() < 1e-4
    assert q.log_prob(z).isfinite().all()
    assert torch.allclose(kl_divergence(q, UniformSphere(dimension)), torch.tensor(found.rate).float())
    assert q.variance.min() > -1e-6


@pytest.mark.parametrize("kappa", [0.0, -1.0, 2e6, math.nan, math.inf])
def test_concentrations_out_of_range_are_refused(kappa):
    with pytest.raises(BadInput):
        series(3, kappa)


@pytest.mark.parametrize("raw", [torch.zeros(3), torch.zeros(3, 5), (torch.zeros(2, 3), torch.zeros(3, 2)), None])
def test_what_is_no_posterior_is_refused(raw):
    with pytest.raises(ShapeError):
        gaussian(raw)
    with pytest.raises(UncollapseError):
        bernoulli(None)
