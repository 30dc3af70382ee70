import math

import pytest
import torch
from torch import nn

from uncollapse import VAE, draw
from uncollapse.errors import BadInput, Unsupported
from uncollapse.testing import LinearVAE, Prototypes, ToyModel
from uncollapse.wrappers import BatchNormMean


@pytest.fixture
def x():
    return Prototypes().sample(64)[0]


def far(**given):
    """Batch norm over means that vary much: eps is nothing beside their variance."""
    torch.manual_seed(0)
    model = VAE(nn.Linear(16, 64), nn.Linear(32, 16), latent=32)
    with torch.no_grad():
        model.encoder.weight.mul_(20)
    return BatchNormMean(model, **given)


def test_against_a_slow_version(x):
    model, gamma = far(gamma=0.6), 0.6
    with torch.no_grad():
        model.shift.copy_(torch.linspace(-1, 1, 32))
    inner, outer = model.model.posterior(x).mean, model.posterior(x).mean
    for j in range(32):
        column = inner[:, j]
        average = sum(column) / 64
        variance = sum((value - average) ** 2 for value in column) / 64
        expected = gamma * (column - average) / (variance + 1e-5) ** 0.5 + model.shift[j]
        assert torch.allclose(outer[:, j], expected, atol=1e-5)


def test_the_floor_of_the_paper(x):
    """d/2 gamma² = 7.84 for gamma 0.7 and d = 32."""
    assert far().floor() == pytest.approx(7.84)
    model = far()
    with torch.no_grad():
        model.shift.fill_(0.5)
    assert model.floor() == pytest.approx(7.84 + 16 * 0.25)


@pytest.mark.parametrize("given", [{}, {"gamma": 1.3}, {"renormalise": True}, {"tau": 0.5}])
def test_floors_hold_and_are_met(given, x):
    model = far(**given)
    for spread in (0.0, 1.0):  # the same scale for all inputs, or not
        with torch.no_grad():
            model.model.encoder.weight[32:].mul_(spread)
            model.model.encoder.bias[32:].mul_(0)
        kl = draw(model, x).kl.sum(1).mean().item()
        assert kl > model.floor() * (1 - 1e-4)
        if spread == 0.0:
            assert kl == pytest.approx(model.floor(), rel=1e-3)


def test_renormalised_scales_differ_and_keep_their_mean_square(x):
    model = far(renormalise=True, gamma=0.5)
    with torch.no_grad():
        model.ratio.copy_(torch.linspace(0.1, 3, 32))
    assert model.gammas().square().mean().item() == pytest.approx(0.25)
    assert torch.allclose(model.posterior(x).mean.std(0, correction=0), model.gammas().abs(), atol=1e-4)
    assert draw(model, x).kl.sum(1).mean() > model.floor() * (1 - 1e-4)


def test_tau_gives_the_aggregate_posterior_the_second_moment_of_the_prior(x):
    model = far(tau=0.3)
    with torch.no_grad():
        model.theta.copy_(torch.linspace(-4, 4, 32))
    q = model.posterior(x)
    assert torch.allclose(q.mean.square().mean(0) + q.variance.mean(0), torch.ones(32), atol=1e-3)
    assert model.floor() == pytest.approx(sum(-0.5 * math.log(0.7 / (1 + math.exp(t))) for t in model.theta.tolist()))


def test_evaluation_uses_running_statistics(x):
    for given in ({}, {"tau": 0.5}):
        model = far(momentum=1.0, **given)
        training = model.posterior(x)
        model.eval()
        evaluation = model.posterior(x)
        assert torch.allclose(training.mean, evaluation.mean, rtol=0.02, atol=1e-3)  # n / (n - 1) in the variance
        assert torch.allclose(training.stddev, evaluation.stddev, rtol=0.02)
        assert torch.allclose(model.posterior(x[:1]).mean, evaluation.mean[:1], atol=1e-5)


def test_means_of_a_batch_cannot_agree_while_eps_is_small(x):
    """A floor alone is met by constant means; here the variance over the batch is part of the model."""
    torch.manual_seed(0)
    model = BatchNormMean(ToyModel())
    with torch.no_grad():
        model.model.encoder.head.weight[:4].mul_(0.03)
    assert model.model.posterior(x).mean.std(0).max() < 0.1
    assert model.posterior(x).mean.std(0).min() > 0.5
    with torch.no_grad():
        model.model.encoder.head.weight[:4].mul_(1e-3)  # the way out: variances far below eps
    assert model.posterior(x).mean.std(0).max() < 0.1


def test_parts_belong_to_the_encoder():
    model = far()
    assert any(model.shift is parameter for part in model.parts()["encoder"] for parameter in part.parameters())


@pytest.mark.parametrize(
    "given", [{"gamma": 0.0}, {"gamma": True}, {"tau": 1.0}, {"tau": 0.5, "renormalise": True}, {"eps": 0.0}]
)
def test_bad_arguments(given):
    with pytest.raises(BadInput, match="should be"):
        BatchNormMean(ToyModel(), **given)


def test_what_it_cannot_do(x):
    with pytest.raises(BadInput, match="at least two, got one"):
        BatchNormMean(ToyModel()).posterior(x[:1])
    with pytest.raises(Unsupported, match="BatchNormMean needs a diagonal Gaussian"):
        BatchNormMean(LinearVAE(torch.randn(16, 3), 0.5)).posterior(x)
