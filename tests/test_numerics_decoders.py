"""Metrics that ask a decoder, at extreme scales, logits and widths, against sums that take no short cut."""

import math

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Independent, Normal

from uncollapse import metrics
from uncollapse.codes import Codes
from uncollapse.distributions import FixedGaussian, bernoulli, standard_normal
from uncollapse.errors import BadInput, NonFinite
from uncollapse.families import Folded
from uncollapse.metrics import legacy
from uncollapse.metrics.densities import Draws
from uncollapse.testing.extremes import examples, gaussians, seeds

K = 25


class Told:
    """A model whose posteriors are a table, and whose decoder is a saturated linear map."""

    def __init__(self, mean, scale, weight, size, noise=None):
        self.mean, self.scale, self.weight, self.size, self.noise = mean, scale, weight, size, noise

    def posterior(self, x):
        return Independent(Normal(self.mean[: len(x)], self.scale[: len(x)]), 1)

    def raw(self, z):
        return self.size * torch.tanh(z.to(self.weight) @ self.weight / z.shape[-1])

    def likelihood(self, z):
        read = bernoulli if self.noise is None else FixedGaussian(self.noise)
        px = read(self.raw(z.reshape(-1, z.shape[-1])))
        return px if z.ndim == 2 else Folded(px, z.shape[:-1])

    def prior(self):
        return standard_normal(self.mean.shape[1])


@st.composite
def models(draw):
    mean, scale = draw(gaussians((2, 12), (1, 2, 8)))
    generator = torch.Generator().manual_seed(draw(seeds()))
    weight = torch.randn(mean.shape[1], 5, generator=generator)
    noise = draw(st.sampled_from([None, None, 1e-8, 1e-3, 1.0, 1e4]))
    x = torch.rand(len(mean), 5, generator=generator)
    return Told(
        mean, scale, weight, draw(st.sampled_from([0.0, 1.0, 50.0, 1e4])), noise
    ), x.round() if noise is None else x


def slow_likelihood(model, z, x):
    """log p(x|z) in float64, (K, B), from what the decoder says in float32."""
    raw = model.raw(z).double()
    if model.noise is None:
        log = torch.nn.functional.logsigmoid
        return (x * log(raw) + (1 - x) * log(-raw)).sum(-1)
    noise = float(torch.tensor(model.noise))
    return (-0.5 * ((x.double() - raw) / noise).square() - math.log(noise) - 0.5 * math.log(2 * math.pi)).sum(-1)


def slow_weights(model, x, samples, seed=0):
    """Log importance weights (K, B) in float64."""
    noise = Draws(model.posterior(x), samples, seed, 0).noise.table(torch.device("cpu")).double()
    exact = model.mean.double() + model.scale.double() * noise
    ratio = (0.5 * noise.square() - 0.5 * exact.square() + model.scale.double().log()).sum(-1)
    return slow_likelihood(model, exact.float(), x) + ratio


@given(models(), st.integers(1, 200))
@examples(50)
def test_nll(made, chunk):
    model, x = made
    found = metrics.nll(model, x, samples=K)
    weights = slow_weights(model, x, K)
    slow = math.log(K) - weights.logsumexp(0)
    assert torch.allclose(found.per_example, slow, rtol=2e-6, atol=1e-4)
    assert ((found.ess > 1 - 1e-6) & (found.ess < K + 1e-6)).all()
    assert found.pareto_k.isfinite().all()
    again = metrics.nll(model, x, samples=K, chunk=chunk).per_example
    assert torch.allclose(again, found.per_example, rtol=2e-6, atol=1e-4)  # the decoder's own products round otherwise
    once = metrics.nll(model, x, samples=1)
    assert torch.allclose(once.per_example, -slow_weights(model, x, 1)[0], rtol=2e-6, atol=1e-4)
    assert (found.per_example <= -weights.mean(0) + 1e-4 + 2e-6 * weights.mean(0).abs()).all()  # Jensen


@given(models())
@examples(30)
def test_papers_formulas(made):
    model, x = made
    kl = 0.5 * (model.mean.double().square() + model.scale.double().square() - 1) - model.scale.double().log()
    weights = slow_weights(model, x, K)
    ratio = weights - slow_likelihood(model, Draws(model.posterior(x), K, 0, 0).samples(), x)
    distortion = ratio - weights
    count = len(x)
    total = (-distortion - kl.sum(1)).sum(1)
    slow = {
        legacy.batch_summed_nll: (math.log(K) - total.logsumexp(0)) / count,
        legacy.batch_mean_nll: math.log(K) - weights.mean(1).logsumexp(0),
        legacy.negative_elbo: (distortion.mean(0) + kl.sum(1)).mean(),
    }
    for metric, value in slow.items():
        found = metric(model, x, samples=K, batch=count)
        assert float(found) == pytest.approx(float(value), rel=1e-5, abs=1e-3)
    assert math.isfinite(legacy.flat_nll(model, x, samples=K, batch=count))
    assert 0 <= legacy.pairwise_lipschitz(model, torch.cat([model.mean, model.mean + 1]), pairs=50) < math.inf


@given(models(), st.sampled_from([0.0, 1e-16, 1.0, 1e8]))
@examples(30)
def test_wrong_codes(made, variance):
    model, x = made
    codes = Codes.from_gaussian(model.mean, model.scale)
    shuffled = metrics.shuffle_gap(model, x, codes=codes)
    noisy = metrics.noise_gap(model, x, variance, codes=codes)
    assert math.isfinite(shuffled)
    assert math.isfinite(noisy)
    assert variance or noisy == 0
    same = Codes.from_gaussian(model.mean[:1].repeat(len(x), 1), torch.full_like(model.scale, 1e-8))
    still = Told(same.mean, same.scale, model.weight, 0.0, model.noise)
    assert metrics.shuffle_gap(still, x, codes=same) == 0


def test_likelihoods_that_are_infinite_are_refused():
    model = Told(torch.zeros(4, 2), torch.ones(4, 2), torch.ones(2, 5), 1.0, 1e-30)
    x, codes = torch.rand(4, 5), Codes.from_gaussian(torch.zeros(4, 2), torch.ones(4, 2))
    with pytest.raises(NonFinite, match="example 0 probability 0"):
        metrics.nll(model, x, samples=K)
    for metric in (legacy.batch_summed_nll, legacy.batch_mean_nll, legacy.flat_nll, legacy.negative_elbo):
        with pytest.raises(NonFinite):
            metric(model, x, samples=2, batch=2)
    for gap in (metrics.shuffle_gap, lambda *a, **o: metrics.noise_gap(*a, variance=1.0, **o)):
        with pytest.raises(NonFinite):
            gap(model, x, codes=codes)


class Linear(Told):
    """A decoder whose Jacobian is the same everywhere."""

    def raw(self, z):
        return self.size * (z.to(self.weight) @ self.weight)


@given(
    gaussians((2, 5), (1, 2, 3)), seeds(), st.sampled_from([1e-6, 1.0, 1e4]), st.sampled_from([1e-8, 1e-3, 1.0, 1e4])
)
@examples(40)
def test_local_spectrum(gaussian, seed, size, noise):
    mean, scale = gaussian
    weight = torch.randn(mean.shape[1], 5, generator=torch.Generator().manual_seed(seed))
    model = Linear(mean, scale, weight, size, noise)
    with mpmath.workdps(60):
        jacobian = mpmath.matrix((weight * size).T.double().tolist())
        true = sorted((float(v) for v in mpmath.svd_r(jacobian, compute_uv=False)), reverse=True)
    true = torch.tensor(true, dtype=torch.float64)
    found = metrics.lipschitz(model, mean)
    # Squares are summed: what is below a ten-millionth of the largest value is rounding.
    assert torch.allclose(found.singular, true.expand_as(found.singular), rtol=1e-4, atol=1e-6 * float(true.max()))
    spectrum = metrics.local_spectrum(model, mean)
    wanted = (true / float(torch.tensor(noise))).square()
    assert torch.allclose(spectrum, wanted.expand_as(spectrum), rtol=1e-3, atol=1e-9 * float(wanted.max()))
    codes = Codes.from_gaussian(mean, scale)
    local = metrics.local_collapse(model, codes)
    assert local.epsilon.isfinite().all()
    assert (local.epsilon >= 0).all()
    assert local.information.isfinite().all()
    assert 0 <= local.collapsed <= 1
    assert 0 <= local.collapsed_by_information <= 1


@pytest.mark.parametrize("size", [0.0, 1.0, 1e4])
def test_spectrum_of_saturated_logits(size):
    """pi (1 - pi) of logits 1e4 is 0 in every precision: the decoder tells nothing apart, and that is right."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(6, 3, generator=generator)
    model = Told(z, torch.ones(6, 3), torch.randn(3, 5, generator=generator), size)
    found = metrics.local_spectrum(model, z)
    logits, slope = model.raw(z).double(), torch.tanh(z.double() @ model.weight.double() / 3)
    jacobian = (size * (1 - slope.square()))[:, :, None] * model.weight.double().T / 3
    fisher = logits.sigmoid() * (-logits).sigmoid()
    wanted = torch.linalg.eigvalsh(jacobian.mT @ (fisher[:, :, None] * jacobian)).flip(1)
    assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-6 * max(float(wanted.max()), 1e-30))


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, -1.0])
def test_posteriors_that_are_none_are_refused(bad):
    scale = torch.ones(3, 2)
    scale[1, 0] = bad
    with pytest.raises(BadInput):
        Codes.from_gaussian(torch.zeros(3, 2), scale)
    if not math.isfinite(bad):
        with pytest.raises(BadInput):
            Codes.from_gaussian(scale, torch.ones(3, 2))
