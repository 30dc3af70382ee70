import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Bernoulli, Independent, kl_divergence

from uncollapse import VAE, draw
from uncollapse.diagnosis.weight import effective_beta
from uncollapse.distributions import FixedGaussian, gaussian, standard_normal
from uncollapse.errors import BadInput
from uncollapse.testing.linear import LinearVAE

PIXELS, LATENT = 20, 4


def kl(mean, log_variance):
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp())


def summed(x_hat, x, cost):
    return cost(x_hat, x, reduction="none").sum(1).mean()


BCE, LOGITS, MSE, L1 = F.binary_cross_entropy, F.binary_cross_entropy_with_logits, F.mse_loss, F.l1_loss
FINE, SUMMED = "both averaged over the batch: fine", "both summed over the batch: fine"
PER_PIXEL, PER_LATENT = "reconstruction averaged over 20 pixels", "KL averaged over 4 latents"


def per(m, v):
    """KL per example, averaged over the batch."""
    return kl(m, v).sum(1).mean()


LOSSES = {
    "elbo": (lambda h, x, m, v: summed(h, x, BCE) + per(m, v), 1.0, "bernoulli", FINE),
    "bce mean": (lambda h, x, m, v: BCE(h, x) + per(m, v), 20.0, "bernoulli", PER_PIXEL),
    "mse sum": (lambda h, x, m, v: MSE(h, x, reduction="sum") + kl(m, v).sum(), 0.5, "gaussian", SUMMED),
    "kl mean": (lambda h, x, m, v: summed(h, x, MSE) + kl(m, v).mean(), 0.125, "gaussian", PER_LATENT),
    "both mean": (lambda h, x, m, v: BCE(h, x) + kl(m, v).mean(), 5.0, "bernoulli", f"{PER_PIXEL}, {PER_LATENT}"),
    "beta 4": (lambda h, x, m, v: summed(h, x, BCE) + 4 * per(m, v), 4.0, "bernoulli", "KL weighs 4 per example"),
    "l1": (lambda h, x, m, v: summed(h, x, L1) + per(m, v), 1.0, "laplace", FINE),
    "no kl": (lambda h, x, m, v: MSE(h, x), 0.0, "gaussian", "no KL term"),
}  # fmt: skip


class Own(nn.Module):
    """A model as people write it; works in place, and draws its own noise."""

    def __init__(self, logits=False):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(PIXELS, 30), nn.BatchNorm1d(30), nn.ReLU(inplace=True))
        self.mu, self.lv = nn.Linear(30, LATENT), nn.Linear(30, LATENT)
        self.back = nn.Sequential(nn.Linear(LATENT, 30), nn.ReLU(inplace=True), nn.Linear(30, PIXELS))
        self.logits = logits

    def encode(self, x):
        h = self.trunk(x)
        return self.mu(h), self.lv(h)

    def decode(self, z):
        return self.back(z) if self.logits else torch.sigmoid(self.back(z))

    def forward(self, x):
        mean, log_variance = self.encode(x)
        return self.decode(mean + (log_variance / 2).exp() * torch.randn_like(mean)), mean, log_variance


class Seen:
    """The same model as three questions."""

    def __init__(self, own):
        self.own = own

    def posterior(self, x):
        return gaussian(self.own.encode(x))

    def likelihood(self, z):
        x_hat = self.own.decode(z)
        return Independent(Bernoulli(logits=x_hat) if self.own.logits else Bernoulli(probs=x_hat), 1)

    def prior(self):
        return standard_normal(LATENT)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("name", LOSSES)
def test_classic_losses_are_read(name):
    loss, beta, family, reading = LOSSES[name]
    model = VAE(nn.Linear(PIXELS, 2 * LATENT), nn.Linear(LATENT, PIXELS), LATENT)
    found = effective_beta(model, torch.rand(64, PIXELS), loss)
    assert found.beta == pytest.approx(beta, rel=1e-4)
    assert (found.likelihood, found.reading, found.source) == (family, reading, "loss")
    assert not found.floored


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("assumed", [False, True])
def test_losses_of_a_model_are_read_through_its_modules(name, assumed):
    loss, beta, family, reading = LOSSES[name]
    own = Own()

    def mine(model, x):
        x_hat, mean, log_variance = model(x)
        return loss(x_hat, x, mean, log_variance)

    found = effective_beta(Seen(own), torch.rand(64, PIXELS), mine, native=own, assumed=assumed)
    assert found.beta == pytest.approx(beta, rel=1e-4)
    assert (found.likelihood, found.reading) == (family, reading)


def test_logits_are_told_from_probabilities():
    own = Own(logits=True)

    def loss(model, x):
        x_hat, mean, log_variance = model(x)
        return summed(x_hat, x, LOGITS) + 3 * kl(mean, log_variance).sum(1).mean()

    assert effective_beta(Seen(own), torch.rand(64, PIXELS), loss, native=own).beta == pytest.approx(3.0, rel=1e-4)


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.back = nn.Linear(PIXELS, 2 * LATENT), nn.Linear(LATENT, PIXELS)

    def posterior(self, x):
        return gaussian(self.body(x).mul_(1.5))

    def likelihood(self, z):
        return Independent(Bernoulli(probs=self.back(z).sigmoid_(), validate_args=False), 1)

    def prior(self):
        return standard_normal(LATENT)


def test_work_in_place_behind_a_layer():
    found = effective_beta(InPlace(), torch.rand(64, PIXELS), lambda m, x: -draw(m, x).elbo.mean())
    assert found.beta == pytest.approx(1.0, rel=1e-4)


def test_gaussian_of_known_variance():
    model = VAE(nn.Linear(PIXELS, 2 * LATENT), nn.Linear(LATENT, PIXELS), LATENT, read_x=FixedGaussian(0.5))
    found = effective_beta(model, torch.randn(64, PIXELS), lambda m, x: -7 * draw(m, x, samples=3).elbo.mean())
    assert found.beta == pytest.approx(1.0, rel=1e-5)
    assert found.noise == pytest.approx(0.25, rel=1e-5)
    assert found.variance == pytest.approx(0.25)


@pytest.mark.parametrize("samples", [1, 8])
def test_sampled_kl_is_averaged(samples):
    model = VAE(nn.Linear(PIXELS, 2 * LATENT), nn.Linear(LATENT, PIXELS), LATENT)
    found = effective_beta(model, torch.rand(64, PIXELS), lambda m, x: -draw(m, x, samples=samples).log_w.mean())
    assert found.beta == pytest.approx(1.0, rel=0.1)
    assert found.kl_cosine > 0.98
    assert not found.floored


def test_free_bits_and_capacity_are_said():
    model = VAE(nn.Linear(PIXELS, 2 * LATENT), nn.Linear(LATENT, PIXELS), LATENT)
    x = torch.rand(64, PIXELS)
    bits = effective_beta(model, x, lambda h, x, m, v: summed(h, x, BCE) + kl(m, v).mean(0).clamp(min=0.5).sum())
    assert bits.floored
    assert "free bits" in bits.reading
    assert bits.beta == pytest.approx(1.0, rel=1e-4)
    masked = effective_beta(model, x, lambda h, x, m, v: summed(h, x, BCE) + kl(m, v).clamp(min=0.5).sum(1).mean())
    assert 0 < masked.kl_cosine < 0.98
    assert "not by their KL" in masked.reading
    target = effective_beta(model, x, lambda h, x, m, v: summed(h, x, BCE) + (kl(m, v).sum(1).mean() - 50).abs())
    assert target.beta is None
    assert "capacity" in target.reading


def test_models_without_modules_are_cut_at_their_methods():
    found = effective_beta(
        LinearVAE.optimal(torch.eye(PIXELS) * 4, LATENT, 0.5), torch.randn(64, PIXELS),
        lambda m, x: (2 * draw(m, x).kl.sum(1) - draw(m, x).log_px.mean(0)).mean(),
    )  # fmt: skip
    assert found.beta == pytest.approx(2.0, rel=1e-4)
    assert found.noise == pytest.approx(1.0, rel=1e-4)


def test_declared_weight():
    model = VAE(nn.Linear(PIXELS, 2 * LATENT), nn.Linear(LATENT, PIXELS), LATENT, read_x=FixedGaussian(0.5))
    found = effective_beta(model, torch.rand(64, PIXELS), weight=4.0)
    assert (found.beta, found.noise, found.source) == (4.0, 1.0, "declared")


@pytest.mark.parametrize("beta", [0.3, 1.0, 3.0])
def test_a_trained_model_implies_its_weight(beta):
    x = torch.randn(2000, 10) * torch.linspace(4, 0.2, 10).sqrt()
    found = effective_beta(LinearVAE.optimal(x.T.cov(), 6, 0.1, beta), x)
    assert found.source == "implied"
    assert found.beta == pytest.approx(beta, rel=0.05)


def test_untrained_and_collapsed_models_imply_nothing():
    untrained = VAE(nn.Linear(10, 8), nn.Linear(4, 10), 4, read_x=FixedGaussian(0.5))
    assert effective_beta(untrained, torch.rand(512, 10)).beta is None
    x = torch.randn(500, 10)
    assert effective_beta(LinearVAE.optimal(x.T.cov(), 6, 50.0), x).source == "unknown"


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float64])
def test_other_precisions(kind):
    model = VAE(nn.Linear(PIXELS, 2 * LATENT), nn.Linear(LATENT, PIXELS), LATENT).to(kind)

    def loss(m, x):
        q = m.posterior(x)
        kl = kl_divergence(q, m.prior())
        return (2 * kl - m.likelihood(q.rsample().to(kind)).log_prob(x)).mean()

    assert effective_beta(model, torch.rand(64, PIXELS, dtype=kind), loss).beta == pytest.approx(2, rel=0.02)


def test_everything_is_left_as_it_was():
    own = Own().train()
    own.trunk.eval()
    for p in own.parameters():
        p.grad = torch.ones_like(p)
    before = {k: v.clone() for k, v in own.state_dict().items()}
    modes, state, names = [m.training for m in own.modules()], torch.get_rng_state(), set(vars(own))

    def loss(model, x):
        x_hat, mean, log_variance = model(x)
        return summed(x_hat, x, BCE) + kl(mean, log_variance).sum(1).mean()

    with torch.no_grad():
        effective_beta(Seen(own), torch.rand(64, PIXELS, generator=torch.Generator()), loss, native=own)
    assert all(torch.equal(v, own.state_dict()[k]) for k, v in before.items())
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in own.parameters())
    assert [m.training for m in own.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert set(vars(own)) == names
    assert not any(m._forward_hooks for m in own.modules())


def test_wrong_losses_get_one_sentence():
    model = VAE(nn.Linear(PIXELS, 2 * LATENT), nn.Linear(LATENT, PIXELS), LATENT)
    x = torch.rand(64, PIXELS)
    with pytest.raises(BadInput, match="requires 3 arguments"):
        effective_beta(model, x, lambda a, b, c: a)
    with pytest.raises(BadInput, match="could not be computed"):
        effective_beta(model, x, lambda m, x: m.nothing(x))
    with pytest.raises(BadInput, match="one tensor"):
        effective_beta(model, x, lambda m, x: 3.0)


def test_one_example_and_losses_that_flatten():
    decoder = nn.Sequential(nn.Linear(2, 16), nn.Unflatten(1, (1, 4, 4)))
    model = VAE(nn.Sequential(nn.Flatten(), nn.Linear(16, 4)), decoder, 2)

    def flat(x_hat, x, mean, log_variance):
        return BCE(x_hat, x.view(-1, 16), reduction="sum") + kl(mean, log_variance).sum()

    assert effective_beta(model, torch.rand(1, 1, 4, 4), flat).beta == pytest.approx(1.0, rel=1e-4)


def test_a_regulariser_that_is_mostly_something_else_has_no_weight():
    def loss(x_hat, x, mean, log_variance):
        apart = torch.cov(mean.T) - torch.eye(mean.shape[1])
        kl = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(1).mean()
        return 0.5 * (x_hat - x).square().sum(1).mean() + kl + 100 * apart.square().sum()

    torch.manual_seed(0)
    model = VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4, read_x=FixedGaussian(1.0))
    found = effective_beta(model, torch.rand(64, 16), loss)
    assert found.beta is None
    assert "not by their KL" in found.reading
