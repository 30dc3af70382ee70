"""The prior is a mixture of posteriors: against a slow mixture, a single Gaussian, and codes that it should learn."""

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal, kl_divergence

from uncollapse import VAE, Codes, draw
from uncollapse.errors import BadInput, ShapeError
from uncollapse.metrics import active_units, kl, mutual_information, shuffle_gap
from uncollapse.testing import Prototypes, ToyModel
from uncollapse.verdict import verdict
from uncollapse.wrappers import VampPrior, VonMisesFisher
from uncollapse.wrappers.vamp import GaussianMixture


def slow(model, u, z):
    """Log density of one point, component by component."""
    total = 0.0
    for one in u:
        q = model.posterior(one[None])
        total += float(q.log_prob(z).detach().double().exp()) / len(u)
    return torch.tensor(total).log()


def test_density_equals_the_slow_mixture():
    torch.manual_seed(0)
    model = ToyModel()
    vamp = VampPrior(model, (16,), 7, level=0.5, noise=1.0)
    z = torch.randn(3, 5, 4)
    p = vamp.prior()
    assert (p.batch_shape, p.event_shape) == ((), (4,))
    found = p.log_prob(z).detach()
    assert found.shape == (3, 5)
    for k in range(3):
        for i in range(5):
            assert found[k, i] == pytest.approx(float(slow(model, vamp.inputs(), z[k, i])), abs=1e-4)


def test_one_component_is_a_gaussian():
    torch.manual_seed(0)
    vamp = VampPrior(ToyModel(), (16,), 1)
    p, q = vamp.prior(), vamp.model.posterior(vamp.inputs())
    z = torch.randn(6, 4)
    assert torch.allclose(p.log_prob(z), q.log_prob(z), atol=1e-5)
    assert torch.allclose(p.mean, q.mean[0])
    assert torch.allclose(p.variance, q.variance[0])
    x = torch.rand(4, 16)
    sampled = draw(vamp, x, samples=4000).kl
    assert sampled.shape == (4, 1)
    exact = kl_divergence(vamp.posterior(x), q)
    assert torch.allclose(sampled[:, 0], exact, atol=0.1)


def test_moments_and_samples():
    torch.manual_seed(0)
    p = GaussianMixture(3 * torch.randn(5, 2), torch.rand(5, 2) + 0.1)
    z = p.sample((100, 300))
    assert z.shape == (100, 300, 2)
    assert torch.allclose(z.mean((0, 1)), p.mean, atol=0.1)
    assert torch.allclose(z.var((0, 1)), p.variance, rtol=0.03)
    cells = torch.cartesian_prod(*[torch.linspace(-15, 15, 300)] * 2)
    assert p.log_prob(cells).exp().sum() * (30 / 299) ** 2 == pytest.approx(1, abs=1e-3)


def test_other_families_are_mixed_too():
    torch.manual_seed(0)
    inner = VonMisesFisher(ToyModel(), 5.0)
    vamp = VampPrior(inner, (16,), 6, noise=1.0)
    z = vamp.prior().sample((3, 2))
    assert z.shape == (3, 2, 4)
    assert torch.allclose(z.norm(dim=-1), torch.ones(3, 2))
    found = vamp.prior().log_prob(z).detach()
    assert found[1, 1] == pytest.approx(float(slow(inner, vamp.inputs(), z[1, 1])), abs=1e-4)


def test_starting_values():
    data = torch.rand(3, 2, 4)
    model = VAE(nn.Sequential(nn.Flatten(), nn.Linear(8, 4)), nn.Linear(2, 8), 2)
    for squash in ("hardtanh", "sigmoid", "none"):
        made = VampPrior(model, (2, 4), 5, examples=data, squash=squash, noise=0.0)
        assert torch.allclose(made.inputs(), data[[0, 1, 2, 0, 1]], atol=2e-3)
    assert (VampPrior(model, (2, 4), 5, level=0.3, noise=0.0).inputs() == 0.3).all()
    spread = VampPrior(model, (2, 4), 50, examples=data.mean(0, keepdim=True), noise=0.1).raw.detach()
    assert spread.std(0).mean() == pytest.approx(0.1, abs=0.02)
    wild = VampPrior(model, (2, 4), 50, level=0.5, noise=5.0)
    assert wild.inputs().min() == 0
    assert wild.inputs().max() == 1


class Normalised(nn.Module):
    """An encoder with batch normalisation."""

    def __init__(self):
        super().__init__()
        self.norm, self.head = nn.BatchNorm1d(16), nn.Linear(16, 8)

    def forward(self, x):
        return self.head(self.norm(x))


def test_pseudo_inputs_leave_running_statistics_alone():
    vamp = VampPrior(VAE(Normalised(), nn.Linear(4, 16), 4), (16,), 5)
    before = {name: value.clone() for name, value in vamp.state_dict().items()}
    vamp.prior()
    assert all(torch.equal(value, before[name]) for name, value in vamp.state_dict().items())
    assert vamp.encoder.norm.track_running_stats
    draw(vamp, torch.rand(6, 16))
    assert vamp.encoder.norm.num_batches_tracked == 1


def test_gradient_reaches_pseudo_inputs_and_encoder():
    torch.manual_seed(0)
    vamp = VampPrior(ToyModel(), (16,), 5)
    z = torch.randn(6, 4)
    slopes = torch.autograd.grad(vamp.prior().log_prob(z).sum(), [vamp.raw, *vamp.encoder.parameters()])
    assert all(slope.ne(0).any() for slope in slopes)
    assert [p is vamp.raw for part in vamp.parts()["prior"] for p in part.parameters()] == [True]


def clustered(scale=0.6):
    """A fixed encoder with ten clusters of codes far from N(0, I)."""
    model = ToyModel()
    with torch.no_grad():
        model.encoder.head.bias[4:] = 2 * torch.tensor(scale).log()
        model.encoder.head.weight[4:] = 0
        model.encoder.head.weight[:4] *= 10
    model.requires_grad_(False)
    return model


def test_the_prior_finds_the_codes_and_tells_them_nothing():
    torch.manual_seed(0)
    x = Prototypes().sample(500, seed=1)[0]
    model = clustered()
    vamp = VampPrior(model, (16,), 20, examples=x[:100], noise=0.1)
    optimiser = torch.optim.Adam([vamp.raw], 0.02)
    before = kl(Codes.of(model, x))
    for _ in range(100):
        optimiser.zero_grad()
        draw(vamp, x[torch.randint(500, (64,))]).kl.mean().backward()
        optimiser.step()
    after = kl(Codes.of(vamp, x))
    assert after < before - 5
    assert after.joint_information == pytest.approx(before.joint_information, abs=1e-9)
    assert after.mismatch < 0.2 * before.joint_mismatch
    assert after.information_per_dim.shape == (4,)


def test_it_is_no_remedy_where_collapse_is_the_optimum():
    torch.manual_seed(0)
    vamp, x = VampPrior(ToyModel(scale=2.0), (16,), 10), Prototypes().sample(1000, seed=1)[0]
    optimiser = torch.optim.Adam(vamp.parameters(), 5e-3)
    for _ in range(150):
        optimiser.zero_grad()
        (-draw(vamp, x[torch.randint(len(x), (64,))]).elbo.mean()).backward()
        optimiser.step()
    codes = Codes.of(vamp, x)
    bracket = mutual_information(codes)
    assert bracket.upper < 0.1
    assert verdict(kl(codes), bracket, active_units(codes), shuffle_gap(vamp, x)).word == "collapsed"


@pytest.mark.parametrize(
    "given", [{"pseudo_inputs": 0}, {"pseudo_inputs": 2.5}, {"squash": "tanh"}, {"noise": -1.0}, {"level": 3.0}]
)
def test_bad_arguments(given):
    with pytest.raises(BadInput):
        VampPrior(ToyModel(), (16,), **given)


def test_a_second_prior_is_refused():
    with pytest.raises(BadInput, match="VampPrior has one already"):
        VampPrior(VampPrior(ToyModel(), (16,), 4), (16,), 4)


def test_bad_shapes():
    for examples in (torch.rand(3, 15), torch.rand(0, 16), torch.rand(16)):
        with pytest.raises(ShapeError, match="N, "):
            VampPrior(ToyModel(), (16,), 4, examples=examples)


def test_the_mixture_itself_is_a_distribution():
    p = GaussianMixture(torch.zeros(3, 2), torch.ones(3, 2))
    normal = Independent(Normal(torch.zeros(2), torch.ones(2)), 1)
    z = torch.randn(9, 2)
    assert torch.allclose(p.log_prob(z), normal.log_prob(z), atol=1e-6)
