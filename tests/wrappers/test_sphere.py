"""A posterior on the sphere: its KL is one number, and the information under it can be measured."""

import math

import pytest
import torch
from torch import nn

from uncollapse import VAE, Codes, Objective, draw
from uncollapse.distributions import standard_normal
from uncollapse.errors import BadInput, Unsupported
from uncollapse.metrics import active_units, kl, mutual_information, nll, shuffle_gap
from uncollapse.remedies import Beta, NeuralCritic, SelfCritic
from uncollapse.testing import Prototypes, ToyModel
from uncollapse.verdict import verdict
from uncollapse.vonmises import VMF, series
from uncollapse.wrappers import VampPrior, VonMisesFisher
from uncollapse.wrappers.sphere import direction


def trained(model, remedies=(), steps=200):
    torch.manual_seed(0)
    x, objective = Prototypes().sample(1000, seed=1)[0], Objective(remedies)
    optimiser = torch.optim.Adam([*model.parameters(), *objective.parameters()], 5e-3)
    for _ in range(steps):
        terms = objective(draw(model, x[torch.randint(len(x), (64,))]), model)
        optimiser.zero_grad()
        sum(term.mean() for term in terms.values()).backward()
        optimiser.step()
    return model, x


@pytest.fixture(scope="module")
def sphere():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return trained(VonMisesFisher(ToyModel(scale=2.0), 10.0))


def test_kl_is_the_same_number_whatever_the_input():
    one = draw(VonMisesFisher(ToyModel(), 10.0), torch.rand(7, 16), samples=3)
    assert one.kl.shape == (7, 1)
    assert torch.allclose(one.kl, torch.tensor(series(4, 10.0).rate))
    assert torch.allclose(one.z.norm(dim=-1), torch.ones(3, 7))
    assert Beta(2.0).rate(one.kl).shape == (7, 1)


def test_only_the_direction_of_the_mean_counts():
    torch.manual_seed(0)
    model, x = ToyModel(), torch.rand(5, 16)
    q = VonMisesFisher(model, 3.0).posterior(x)
    mean = model.posterior(x).mean
    assert torch.allclose(q.direction, mean / mean.norm(dim=1, keepdim=True))


def test_a_mean_of_length_zero_still_points_somewhere():
    mean = torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 4.0]], requires_grad=True)
    found = direction(mean)
    assert torch.allclose(found, torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.0, 0.8]]))
    found[:, 1].sum().backward()
    assert mean.grad.isfinite().all()
    assert mean.grad[0, 1] > 0


def test_information_comes_without_a_remedy(sphere):
    """The plain VAE collapses here (tests/remedies/test_information.py)."""
    model, x = sphere
    codes = Codes.of(model, x)
    bracket = mutual_information(codes)
    assert bracket.lower > 1.5
    assert bracket.lower < bracket.upper == pytest.approx(series(4, 10.0).rate, abs=1e-5)
    assert shuffle_gap(model, x) > 0.2


def test_the_floor_of_the_kl_is_no_floor_of_information():
    """A constant direction pays the same KL; the information says so, and the verdict."""
    model = VonMisesFisher(ToyModel(), 10.0)
    with torch.no_grad():
        model.encoder.head.weight.zero_()
    x = torch.rand(300, 16)
    codes = Codes.of(model, x)
    rate, bracket = kl(codes), mutual_information(codes)
    assert rate == pytest.approx(series(4, 10.0).rate, abs=1e-5)
    assert bracket.lower == pytest.approx(0, abs=1e-6)
    assert rate.information == pytest.approx(0, abs=1e-9)
    assert rate.mismatch == pytest.approx(float(rate), abs=1e-6)
    assert verdict(rate, bracket, active_units(codes)).word == "off-prior collapse"


def test_bracket_equals_the_loop(sphere):
    model, x = sphere
    codes = Codes.of(model, x[:30], batch_size=7)
    assert codes.scale is None
    assert len(codes.posteriors) == 5
    mu, n = torch.cat([q.direction for q in codes.posteriors]), len(codes)
    total = 0.0
    for i in range(n):
        logs = torch.stack([VMF(mu[j].double(), 10.0).log_prob(codes.sample[i].double()) for j in range(n)])
        total += float(logs[i] - logs.logsumexp(0) + math.log(n)) / n
    for chunk in (None, 1, 50):
        assert mutual_information(codes, chunk=chunk).lower == pytest.approx(total, abs=1e-5)
    assert mutual_information(codes).upper.flags == ("the KL to the prior",)
    assert mutual_information(codes.permuted()).lower < 0.5


def test_parts_of_the_kl_add_up(sphere):
    model, x = sphere
    rate = kl(Codes.of(model, x))
    assert rate.information_per_dim.shape == (4,)
    assert rate.information.flags == ("from the posteriors' moments: a lower bound",)
    assert rate.mismatch.flags[0] == "of the whole code"
    assert rate.mismatch + rate.joint_information == pytest.approx(rate, abs=1e-9)
    with pytest.raises(BadInput, match="factorise"):
        _ = rate.mismatch_per_dim


def test_importance_sampling_takes_it(sphere):
    model, x = sphere
    few, many = (float(nll(model, x[:100], samples=k)) for k in (1, 50))
    assert many < few


def test_remedies_that_need_a_gaussian_refuse_others_work():
    torch.manual_seed(0)
    model = VonMisesFisher(ToyModel(), 10.0)
    one = draw(model, torch.rand(6, 16))
    with pytest.raises(Unsupported, match="VMF"):
        SelfCritic()(one, model)
    term = NeuralCritic((16,), 4)(one, model)
    slopes = torch.autograd.grad(term.sum(), list(model.encoder.parameters()))
    assert any(slope.ne(0).any() for slope in slopes)


def test_a_mixture_of_itself_as_prior_takes_the_floor_away():
    torch.manual_seed(0)
    model, x = trained(VampPrior(VonMisesFisher(ToyModel(scale=2.0), 10.0), (16,), 10), steps=100)
    rate = kl(Codes.of(model, x))
    assert rate < 0.5 * series(4, 10.0).rate


def test_refusals():
    with pytest.raises(BadInput, match="VampPrior has one already"):
        VonMisesFisher(VampPrior(ToyModel(), (16,), 5))
    with pytest.raises(BadInput, match="VAE has one already"):
        VonMisesFisher(VAE(nn.Linear(16, 8), nn.Linear(4, 16), 4, prior=standard_normal(4)))
    with pytest.raises(BadInput, match="2 dimensions"):
        VonMisesFisher(ToyModel(latent=1))
    for kappa in (0, -1.0, math.inf, "many"):
        with pytest.raises(BadInput, match="concentration"):
            VonMisesFisher(ToyModel(), kappa)
