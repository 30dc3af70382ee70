"""The four tests of the objective, on linear models at known optima and on models that are collapsed by hand."""

import pytest
import torch
from torch import nn

from uncollapse import VAE, Codes, Objective, draw
from uncollapse.adapters.base import Adapted
from uncollapse.diagnosis.objective_causes import (
    follows,
    noise_too_large,
    too_many_latents,
    weight_too_large,
    weight_too_small,
)
from uncollapse.diagnosis.subject import Evidence, Subject
from uncollapse.metrics import active_units, kl, mutual_information
from uncollapse.remedies import Beta
from uncollapse.testing.linear import LinearVAE
from uncollapse.verdict import verdict

VARIANCES = torch.tensor([9.0, 6.0, 4.0, 2.0, *[0.05] * 16])


def case(model, x, **options):
    codes = Codes.of(model, x)
    rate, bracket, units = kl(codes), mutual_information(codes), active_units(codes)
    evidence = Evidence(rate, bracket, units, None, None, verdict(rate, bracket, units))
    subject = Subject(Adapted(model), model, codes, x, torch.arange(len(x)), **options)
    return subject, evidence


def states(model, x, **options):
    one = case(model, x, **options)
    tests = (weight_too_large, weight_too_small, noise_too_large, too_many_latents)
    return [test(*one).state for test in tests], [test(*one) for test in tests]


def gaussian(seed=0):
    return torch.randn(1000, 20, generator=torch.Generator().manual_seed(seed)) * VARIANCES.sqrt()


def linear(x, latent, noise, beta=1.0):
    return LinearVAE.optimal((x - x.mean(0)).T.cov(), latent, noise, beta)


def test_a_healthy_model_is_cleared():
    x = gaussian()
    assert states(linear(x, 4, 0.05), x, weight=1.0)[0] == ["clear"] * 4


@pytest.mark.parametrize("beta", [50.0, 1e4])
def test_a_heavy_kl_is_found(beta):
    x = gaussian()
    words, found = states(linear(x, 4, 0.05, beta), x, weight=beta)
    assert words[:3] == ["found", "clear", "clear"]
    assert found[0].numbers["beta"] == beta
    assert found[0].numbers["allowed_at_1"] == 4


def test_the_weight_is_read_off_a_loss_and_an_objective():
    x = gaussian()
    model = linear(x, 4, 0.05, 1e4)
    loss = lambda m, x: (1e4 * draw(m, x).kl.sum(1) - draw(m, x).log_px.mean(0)).mean()  # noqa: E731
    assert states(model, x, loss=loss)[0][0] == "found"
    assert states(model, x, objective=Objective([Beta(1e4)]))[0][0] == "found"
    assert states(model, x)[0][0] == "untested"


def test_noise_is_blamed_where_no_weight_would_help():
    x = gaussian()
    words, found = states(linear(x, 4, 20.0), x, weight=1.0)
    assert words == ["clear", "clear", "found", "clear"]
    assert found[2].strength == 1
    assert found[2].numbers["best"] == pytest.approx(0.05, rel=0.1)
    part = states(linear(x, 4, 3.0), x, weight=1.0)[1][2]
    assert (part.state, part.strength) == ("found", 1)


def test_more_latents_than_directions():
    x = gaussian()
    words, found = states(linear(x, 12, 0.05), x, weight=1.0)
    assert words == ["clear", "clear", "clear", "found"]
    assert found[3].numbers["supported"] == 4
    assert found[3].strength == pytest.approx(1.0)


def test_collapse_for_another_reason_is_not_blamed_on_the_objective():
    x = gaussian()
    model = linear(x, 4, 0.05)
    model.gain.zero_()
    model.covariance.copy_(torch.eye(4))
    assert states(model, x, weight=1.0)[0] == ["clear"] * 4
    words, found = states(model, x, weight=50.0)
    assert (found[0].numbers["allowed"], found[0].numbers["allowed_at_1"]) == (3, 4)
    assert words[0] == "clear", "three latents could live at this weight, and none does"


class Away(LinearVAE):
    def posterior(self, x):
        q = super().posterior(x)
        return torch.distributions.Independent(torch.distributions.Normal(4 + q.mean, q.stddev), 1)


def test_a_light_kl_is_found_where_codes_leave_the_prior():
    x = gaussian()
    away = Away(linear(x, 4, 0.05).weight, 0.05, posterior="diagonal")
    for weight in (0.0, 0.01):
        assert states(away, x, weight=weight)[0][1] == "found"
    assert states(away, x, weight=1.0)[0][1] == "clear"
    assert states(linear(x, 4, 0.05), x, weight=0.01)[0][1] == "clear"


def test_bernoulli_and_models_without_a_decoder():
    x = (gaussian() > 0).float()
    model = VAE(nn.Linear(20, 8), nn.Linear(4, 20), 4)
    for p in model.encoder.parameters():
        nn.init.zeros_(p)
    words, found = states(model, x, weight=784.0)
    assert words[2] == "clear"
    assert "Bernoulli" in found[2].sentence
    one = case(model, x)
    blind = Subject(Adapted(model, decodes=False), model, one[0].codes, x, one[0].rows, weight=5.0)
    assert noise_too_large(blind, one[1]).state == "untested"
    assert weight_too_large(blind, one[1]).state == "found"


def test_bernoulli_latents_beyond_the_rule():
    groups = torch.randn(2000, 3, generator=torch.Generator().manual_seed(1)) > 0
    flips = torch.rand(2000, 21, generator=torch.Generator().manual_seed(2)) < 0.1
    x = (groups.repeat(1, 7) ^ flips).float()
    torch.manual_seed(0)
    model = VAE(nn.Linear(21, 16), nn.Linear(8, 21), 8)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(400):
        optimiser.zero_grad()
        (-draw(model, x).elbo.mean()).backward()
        optimiser.step()
    words, found = states(model, x, weight=1.0)
    assert words == ["clear", "clear", "clear", "found"]
    assert found[3].numbers["allowed"] == found[3].numbers["carrying"] == 3


def test_correlated_ink_under_a_heavy_weight():
    shared = torch.randn(1000, 1, generator=torch.Generator().manual_seed(1)) > 0
    x = (shared ^ (torch.rand(1000, 20, generator=torch.Generator().manual_seed(2)) < 0.1)).float()
    model = VAE(nn.Linear(20, 2), nn.Linear(1, 20), 1)
    for p in model.encoder.parameters():
        nn.init.zeros_(p)
    words, found = states(model, x, weight=20.0)
    assert words[0] == "found"
    assert "linear rule" in found[0].sentence
    assert states(model, x, weight=4.0)[0][0] == "clear"


def test_a_direction_worth_less_than_carrying_counts_as_lost_to_the_weight():
    """The fourth eigenvalue stands just above beta times the noise: active, and not worth 0.1 nats."""
    x = gaussian()
    model = linear(x, 4, 0.1, beta=18.0)
    words, found = states(model, x, weight=18.0)
    assert words == ["found", "clear", "clear", "clear"]
    assert (found[0].numbers["carrying"], found[0].numbers["allowed"]) == (3, 4)


class OwnVariance(nn.Module):
    """A linear decoder with a variance of its own for every pixel, learned or not."""

    def __init__(self, model, variance, learns):
        super().__init__()
        self.inside, self.log_variance = model, nn.Parameter(variance.log(), requires_grad=learns)

    def forward(self, z):
        mean = self.inside.likelihood(z).mean
        return mean, self.log_variance.expand_as(mean)


def collapsed(variance, learns):
    """A collapsed model, its data, of which everything is left over, and a variance of the decoder."""
    x = gaussian()
    inside = linear(x, 4, 20.0)
    for weight in inside.parameters():
        weight.requires_grad_(False)
    model = VAE(nn.Linear(20, 8), OwnVariance(inside, torch.full((20,), variance), learns), latent=4, read_x=reader)
    model.posterior = inside.posterior
    return case(model, x, weight=1.0)


@pytest.mark.parametrize(
    ("variance", "learns", "expected"), [(1.1, True, True), (2.0, True, True), (20.0, True, False), (1.1, False, False)]
)
def test_a_learned_variance_near_its_residuals_follows_them(variance, learns, expected):
    """The data have 1.12 a pixel."""
    assert follows(collapsed(variance, learns)[0]) is expected


@pytest.mark.parametrize("learns", [True, False])
def test_a_variance_that_a_floor_holds_up_is_a_cause_though_it_is_learned(learns):
    assert noise_too_large(*collapsed(20.0, learns)).state == "found"


def reader(raw):
    """The decoder's mean and log-variance as independent Gaussians."""
    return torch.distributions.Independent(torch.distributions.Normal(raw[0], (0.5 * raw[1]).exp()), 1)
