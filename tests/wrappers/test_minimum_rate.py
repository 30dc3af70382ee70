import math

import pytest
import torch
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from uncollapse import VAE, draw
from uncollapse.errors import BadInput, Unsupported
from uncollapse.functional import log_mean_exp, pairwise_log_prob
from uncollapse.testing import LinearVAE, Prototypes, ToyModel
from uncollapse.wrappers import AutoregressivePrior, MinimumRate
from uncollapse.wrappers.minimum_rate import Autoregressive, scale_interval


def given(mean, scale):
    """A VAE whose posterior is what is in x: means in the first half, scales in the second."""
    return VAE(nn.Identity(), nn.Linear(mean.shape[1], 2 * mean.shape[1]), mean.shape[1]), torch.cat(
        [mean, 2 * scale.log()], 1
    )


def every_posterior(sign="kept", delta=0.15):
    mean, log_scale = torch.meshgrid(torch.linspace(-4, 4, 81), torch.linspace(-6, 6, 61), indexing="ij")
    model, x = given(mean.reshape(-1, 1).double(), log_scale.reshape(-1, 1).double().exp())
    return MinimumRate(model.double(), delta, sign), x


@pytest.mark.parametrize("delta", [0.01, 0.15, 1.0, 5.0])
def test_interval_solves_the_equation(delta):
    low, high = scale_interval(delta)
    assert low < 1 < high
    for end in (low, high):
        assert math.log(end**2) - end**2 + 2 * delta + 1 == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("sign", ["kept", "positive"])
@pytest.mark.parametrize("delta", [0.15, 1.0])
def test_every_posterior_is_delta_from_the_prior(sign, delta):
    model, x = every_posterior(sign, delta)
    with torch.no_grad():
        kl, raw = draw(model, x).kl, x[:, :1]
    push = raw.square() / 2 if sign == "kept" else raw.clamp_min(0) / 2
    assert torch.allclose(kl, delta + push, atol=1e-5)
    assert kl.min() >= delta
    assert model.floor() == pytest.approx(delta)


def test_the_sign_is_kept_or_lost():
    kept, x = every_posterior()
    assert torch.equal(kept.posterior(x).mean < 0, x[:, :1] < 0)
    positive, x = every_posterior("positive")
    assert (positive.posterior(x).mean > 0).all()


def test_where_a_positive_mean_has_no_gradient():
    mean = torch.tensor([[-2.0], [2.0]])
    for sign, dead in (("kept", False), ("positive", True)):
        model, x = given(mean, torch.ones(2, 1))
        x = x.requires_grad_()
        slope = torch.autograd.grad(MinimumRate(model, 0.2, sign).posterior(x).mean.sum(), x)[0]
        assert bool(slope[0, 0] == 0) == dead
        assert slope[1, 0] != 0


def test_a_floor_is_not_information():
    """The same posterior for every input, exactly at the floor."""
    torch.manual_seed(0)
    model = MinimumRate(ToyModel(), delta=0.5)
    with torch.no_grad():
        model.model.encoder.head.weight.zero_()
        model.model.encoder.head.bias.zero_()
        one = draw(model, Prototypes().sample(500)[0])
        scores = pairwise_log_prob(one.z[0], one.q.base_dist.loc, one.q.base_dist.scale)
    assert torch.allclose(one.kl, torch.tensor(0.5), atol=1e-5)
    assert (scores.diag() - log_mean_exp(scores, 1)).abs().max() < 1e-4


def covariance(alpha, length):
    """Of a stationary series, steps outermost."""
    steps = torch.arange(length)
    decay = [a ** (steps[:, None] - steps).abs().double() for a in alpha]
    full = torch.zeros(length, len(alpha), length, len(alpha), dtype=torch.float64)
    for k, block in enumerate(decay):
        full[:, k, :, k] = block
    return full.reshape(length * len(alpha), -1)


@pytest.mark.parametrize(("alpha", "length"), [([0.7], 6), ([0.5, -0.9], 3), ([0.0], 2)])
def test_series_against_the_full_covariance(alpha, length):
    torch.manual_seed(0)
    latent = length * len(alpha)
    prior = Autoregressive(torch.tensor(alpha, dtype=torch.float64), length)
    full = MultivariateNormal(torch.zeros(latent, dtype=torch.float64), covariance(alpha, length))
    z = torch.randn(7, 5, latent, dtype=torch.float64)
    assert torch.allclose(prior.log_prob(z), full.log_prob(z))
    q = Independent(Normal(z[0], torch.rand(5, latent, dtype=torch.float64) + 0.1), 1)
    expected = kl_divergence(MultivariateNormal(q.mean, q.variance.diag_embed()), full.expand((5,)))
    assert torch.allclose(kl_divergence(q, prior), expected)
    drawn = prior.sample((50000,))
    assert torch.allclose(torch.cov(drawn.T), full.covariance_matrix, atol=0.03)
    assert torch.equal(prior.variance, torch.ones(latent, dtype=torch.float64))


def test_committed_rate():
    """n = 6, alpha = 0.7: 1.1342, by the formula and as the smallest KL that an optimiser finds."""
    model = AutoregressivePrior(VAE(nn.Linear(16, 12), nn.Linear(6, 16), 6), length=6, alpha=0.7)
    assert model.floor() == pytest.approx(1.1342, abs=1e-4)
    mean, log_scale = torch.randn(6, requires_grad=True), torch.zeros(6, requires_grad=True)
    optimiser = torch.optim.LBFGS([mean, log_scale], max_iter=200, tolerance_grad=1e-9, tolerance_change=1e-12)

    def kl():
        q = Independent(Normal(mean[None], log_scale.exp()[None]), 1)
        return kl_divergence(q, model.prior()).sum()

    def closure():
        optimiser.zero_grad()
        loss = kl()
        loss.backward()
        return loss

    optimiser.step(closure)
    assert kl().item() == pytest.approx(model.floor(), abs=1e-4)
    assert mean.abs().max() < 1e-3  # a floor is not information: zero means for every input meet it
    ends = torch.tensor([1 - 0.49, *[(1 - 0.49) / (1 + 0.49)] * 4, 1 - 0.49])
    assert torch.allclose((2 * log_scale).exp(), ends, atol=1e-3)


def test_floor_adds_up_over_channels():
    model = AutoregressivePrior(VAE(nn.Linear(16, 16), nn.Linear(8, 16), 8), length=4, alpha=[0.5, 0.9])
    assert model.floor() == pytest.approx(sum(0.5 * (2 * math.log1p(a * a) - math.log1p(-a * a)) for a in (0.5, 0.9)))


def test_a_posterior_without_closed_form_is_sampled():
    model = AutoregressivePrior(LinearVAE(torch.randn(16, 4), 0.5), length=2)
    assert draw(model, torch.randn(5, 16)).kl.shape == (5, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: MinimumRate(ToyModel(), 0.0), lambda: MinimumRate(ToyModel(), math.inf),
        lambda: MinimumRate(ToyModel(), sign="both"), lambda: AutoregressivePrior(ToyModel(), 1),
        lambda: AutoregressivePrior(ToyModel(), 3), lambda: AutoregressivePrior(ToyModel(), 2, 1.0),
        lambda: AutoregressivePrior(ToyModel(), 2, [0.5]),
    ],
)  # fmt: skip
def test_bad_arguments(wrong):
    with pytest.raises(BadInput, match="should be"):
        wrong()


def test_other_families_are_refused():
    with pytest.raises(Unsupported, match="MinimumRate needs a diagonal Gaussian"):
        MinimumRate(LinearVAE(torch.randn(16, 3), 0.5)).posterior(torch.randn(4, 16))
