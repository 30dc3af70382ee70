import concurrent.futures
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Categorical, Independent, MixtureSameFamily, Normal

from uncollapse import VAE
from uncollapse.distributions import FixedGaussian, Folded, standard_normal
from uncollapse.metrics import densities
from uncollapse.metrics.densities import Draws, log_likelihood
from uncollapse.nets import PixelCNN


def posterior(rows=3, latent=4, scale=1.0, mean=1.0):
    generator = torch.Generator().manual_seed(0)
    centre = mean + torch.randn(rows, latent, generator=generator)
    return Independent(Normal(centre, scale * (0.5 + torch.rand(rows, latent, generator=generator))), 1)


def double(q):
    return Independent(Normal(q.base_dist.loc.double(), q.base_dist.scale.double()), 1)


@pytest.mark.parametrize("shape", [(5,), (1, 3, 3)])
def test_bernoulli_equals_its_log_prob(shape):
    x = torch.rand(4, *shape).double()  # shares, not bits
    for lead in ((4,), (7, 4)):
        logits = 8 * torch.randn(*lead, *shape).double()
        px, flat = (
            Independent(Bernoulli(logits=one, validate_args=False), len(shape))
            for one in (logits, logits.reshape(-1, *shape))
        )
        assert torch.allclose(log_likelihood(px, x), px.log_prob(x), atol=1e-12)
        assert torch.allclose(log_likelihood(Folded(flat, torch.Size(lead)), x), px.log_prob(x), atol=1e-12)


@pytest.mark.parametrize("size", [0.0, 3.0, 30.0, 300.0])
def test_bernoulli_in_float32_equals_float64(size):
    """784 pixels that fit well, so that the sum is small beside its terms' logits."""
    x = torch.rand(2, 784, generator=torch.Generator().manual_seed(0)).round()
    logits = size * (2 * x - 1) + torch.randn(50, 2, 784, generator=torch.Generator().manual_seed(1))
    exact = Independent(Bernoulli(logits=logits.double()), 1).log_prob(x.double())
    assert (log_likelihood(Independent(Bernoulli(logits=logits), 1), x) - exact).abs().max() < 1e-4


def test_the_logits_stay_as_they_are():
    logits = torch.randn(7, 4, 5)
    before = logits.clone()
    log_likelihood(Independent(Bernoulli(logits=logits), 1), torch.rand(4, 5))
    assert torch.equal(logits, before)


def test_others_are_asked_themselves():
    class Half(Bernoulli):
        def log_prob(self, value):
            return 0.5 * super().log_prob(value)

    x, logits = torch.rand(4, 5).round(), torch.randn(7, 4, 5)
    for px in (
        Independent(Half(logits=logits), 1), FixedGaussian(0.3)(logits.reshape(28, 5)),
        Independent(Bernoulli(logits=logits[..., :1]).expand((7, 4, 5)), 1),
        MixtureSameFamily(Categorical(torch.ones(7, 4, 2)), Independent(Bernoulli(logits=torch.randn(7, 4, 2, 5)), 1)),
    ):  # fmt: skip
        seen = x.repeat(7, 1) if px.batch_shape == (28,) else x
        assert torch.allclose(log_likelihood(px, seen), px.log_prob(seen).double(), atol=1e-5)
    picture = torch.rand(2, 1, 5, 5).round()
    px = PixelCNN.small((1, 5, 5), latent=2).eval()(torch.randn(2, 2))
    assert torch.equal(log_likelihood(px, picture), px.log_prob(picture).double())


@pytest.mark.parametrize("scale", [1.0, 1e-1, 1e-2, 1e-3, 1e-4])
def test_ratios_equal_float64(scale):
    q = posterior(latent=64, scale=scale)
    draws = Draws(q, 50, 7, 0)
    noise = draws.noise.table(torch.device("cpu")).double()
    base, p = double(q).base_dist, standard_normal(64)
    z = base.loc + base.scale * noise
    log_p = -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)
    exact = log_p - double(q).log_prob(z)
    found = torch.cat([ratio for _, ratio in draws.pieces(p, 16)])
    assert (found - exact).abs().max() < 1e-6
    assert torch.allclose(draws.samples().double(), z, rtol=1e-6)
    if scale == 1e-4:  # what a difference of float32 samples gives
        rough = p.log_prob(z.float()) - q.log_prob(z.float())
        assert (rough.double() - exact).abs().max() > 1e-3


def test_any_prior():
    """A Gaussian one that is not standard, one of another family, and z in float64, which must stay as it is."""
    q = posterior(scale=0.3)
    gaussian = Independent(Normal(torch.arange(4.0), torch.tensor([0.5, 1.0, 2.0, 3.0])), 1)
    mixed = MixtureSameFamily(Categorical(torch.ones(2)), Independent(Normal(torch.randn(2, 4), torch.ones(2, 4)), 1))
    for one in (q, double(q)):
        for prior in (gaussian, mixed):
            draws = Draws(one, 6, 0, 0)
            ((z, ratio),) = draws.pieces(prior, 100)
            assert torch.equal(z, draws.samples())
            assert torch.allclose(ratio.float(), (prior.log_prob(z) - one.log_prob(z)).float(), atol=1e-4)


def test_every_example_has_a_generator_of_its_own():
    table = Draws(posterior(3), 5, 9, 40).noise.table(torch.device("cpu"))
    for i in range(3):
        generator = np.random.Generator(np.random.Philox(key=[9, 40 + i]))
        assert np.array_equal(table[:, i], generator.standard_normal((5, 4), dtype=np.float32))


def test_threads_change_nothing():
    alone = Draws(posterior(30), 50, 1, 0).samples()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert torch.equal(Draws(posterior(30), 50, 1, 0, pool).samples(), alone)


def test_who_draws():
    assert densities.workers(torch.device("cpu")) is None  # tests run on one thread
    with densities.workers(torch.device("cuda")) as pool:
        assert pool._max_workers >= 1


def test_a_posterior_with_a_density_of_its_own_is_asked_for_it():
    class Wider(Normal):
        def log_prob(self, value):
            return Normal(self.loc, 2 * self.scale).log_prob(value)

    plain = posterior().base_dist
    q = Independent(Wider(plain.loc, plain.scale), 1)
    ((z, ratio),) = Draws(q, 6, 0, 0).pieces(standard_normal(4), 100)
    assert torch.allclose(ratio.float(), standard_normal(4).log_prob(z) - q.log_prob(z), atol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 1e-2, 1e-4])
def test_the_bound_equals_float64(scale):
    """The whole estimator, fp32 against float64 with the same noise, at small posteriors."""
    from uncollapse.metrics import nll

    torch.manual_seed(0)
    encoder, decoder = nn.Linear(20, 16), nn.Sequential(nn.Linear(8, 30), nn.ReLU(), nn.Linear(30, 20))
    with torch.no_grad():
        encoder.weight[8:] *= 0.1
        encoder.bias[8:] = 2 * math.log(scale)
    model, x = VAE(encoder, decoder, latent=8), torch.rand(40, 20).round()
    found = nll(model, x, samples=40).per_example
    exact = nll(model.double(), x.double(), samples=40).per_example
    assert (found - exact).abs().max() < 1e-4
