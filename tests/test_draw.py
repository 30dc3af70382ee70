import copy
import math

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Independent, Laplace, MultivariateNormal, Normal

from uncollapse import VAE, Draw, Model, draw
from uncollapse.distributions import FixedGaussian, gaussian, standard_normal
from uncollapse.errors import BadInput, ShapeError


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.mean, self.log_variance = nn.Linear(16, 4), nn.Linear(16, 4)

    def forward(self, x):
        return self.mean(x), self.log_variance(x)


def vae(**given):
    torch.manual_seed(0)
    return VAE(Pair(), nn.Linear(4, 16), latent=4, **given)


X = torch.rand(5, 16, generator=torch.Generator().manual_seed(1)).round()


def test_shapes_for_one_and_for_several_samples():
    for samples in (1, 3):
        one = draw(vae(), X, samples)
        assert one.z.shape == (samples, 5, 4)
        assert one.px.batch_shape == (samples, 5)
        assert one.log_px.shape == one.log_w.shape == (samples, 5)
        assert one.kl.shape == (5, 4)
        assert one.elbo.shape == (5,)


def test_values_against_torch():
    model = vae()
    one = draw(model, X, samples=3)
    q = model.posterior(X)
    for k in range(3):
        logits = model.decoder(one.z[k])
        log_px = Independent(Bernoulli(logits=logits), 1).log_prob(X)
        torch.testing.assert_close(one.log_px[k], log_px)
        log_w = log_px + standard_normal(4).log_prob(one.z[k]) - q.log_prob(one.z[k])
        torch.testing.assert_close(one.log_w[k], log_w)
    torch.testing.assert_close(one.elbo, one.log_px.mean(0) - one.kl.sum(1))
    expected = torch.distributions.kl_divergence(q, standard_normal(4))
    torch.testing.assert_close(one.kl.sum(1), expected)


def test_sampled_kl_agrees_with_the_closed_form():
    closed = draw(vae(), X).kl.sum(1)
    torch.manual_seed(0)
    sampled = draw(vae(read_q=laplace_like), X, samples=20_000)
    assert sampled.kl.shape == (5, 1)
    gap = (sampled.kl[:, 0] - closed).abs()
    assert gap.max() < 0.1


def laplace_like(raw):
    return Unregistered(gaussian(raw))


class Unregistered(torch.distributions.Distribution):
    """A Gaussian for which no closed form of the KL is registered."""

    has_rsample = True

    def __init__(self, inner):
        self.inner = inner
        super().__init__(inner.batch_shape, inner.event_shape, validate_args=False)

    def rsample(self, shape=()):
        return self.inner.rsample(shape)

    def log_prob(self, z):
        return self.inner.log_prob(z)


def test_full_covariance_posterior():
    def full(raw):
        return MultivariateNormal(raw[0], torch.eye(4))

    prior = MultivariateNormal(torch.zeros(4), torch.eye(4))
    model = vae(read_q=full, prior=prior)
    one = draw(model, X)
    assert one.kl.shape == (5, 1)
    torch.testing.assert_close(one.kl[:, 0], 0.5 * one.q.mean.square().sum(1))
    assert model.prior() is prior


def test_gradient_reaches_both_networks():
    model = vae()
    (-draw(model, X).elbo).mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


def test_discrete_posteriors_are_sampled_without_gradient():
    def coins(raw):
        return Independent(Bernoulli(logits=raw[0]), 1)

    prior = Independent(Bernoulli(probs=torch.full((4,), 0.5)), 1)
    one = draw(vae(read_q=coins, prior=prior), X)
    assert set(one.z.unique().tolist()) <= {0.0, 1.0}
    assert not one.z.requires_grad
    assert one.log_w.shape == (1, 5)


class Wide(nn.Module):
    """A prior that learns its width."""

    def __init__(self):
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(4))

    def forward(self):
        return Independent(Normal(torch.zeros(4), self.log_scale.exp()), 1)


def test_prior_may_be_a_module():
    model = vae(prior=Wide())
    draw(model, X).kl.sum().backward()
    assert any("given_prior" in name for name in model.state_dict())
    assert model.given_prior.log_scale.grad.abs().max() > 0


def test_standard_prior_stays_out_of_the_state_dict_and_moves_with_the_model():
    model = vae()
    assert not {"zero", "one"} & set(model.state_dict())
    assert model.double().prior().mean.dtype == torch.float64


def test_images_and_the_fold_of_samples():
    class Shape(nn.Module):
        def forward(self, z):
            assert z.shape == (6, 4)  # the decoder sees one leading dimension
            return z.new_zeros(6, 1, 4, 4)

    model = VAE(nn.Sequential(nn.Flatten(), Pair()), Shape(), latent=4)
    one = draw(model, torch.rand(2, 1, 4, 4), samples=3)
    assert one.log_px.tolist() == [[pytest.approx(16 * math.log(0.5))] * 2] * 3
    assert model.likelihood(torch.zeros(6, 4)).batch_shape == (6,)


def test_linear_gaussian_evidence_by_importance_weights():
    """For x = W z + noise the evidence is known; the mean of the weights finds it."""
    torch.manual_seed(0)
    w = torch.tensor([[1.0], [0.5]])
    decoder, encoder = nn.Linear(1, 2, bias=False), Constant(torch.tensor([0.4, -0.5]))
    with torch.no_grad():
        decoder.weight.copy_(w)
    model = VAE(encoder, decoder, latent=1, read_x=FixedGaussian(1.0))
    x = torch.tensor([[1.0, 0.2]])
    exact = MultivariateNormal(torch.zeros(2), w @ w.T + torch.eye(2)).log_prob(x)
    one = draw(model, x, samples=20_000)
    estimate = torch.logsumexp(one.log_w, 0) - math.log(20_000)
    torch.testing.assert_close(estimate, exact, rtol=0, atol=0.02)
    assert one.elbo.item() < exact.item()


class Constant(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = nn.Parameter(value)

    def forward(self, x):
        return self.value.expand(len(x), -1)


def test_forward_is_draw_and_results_are_cached():
    model = vae()
    one = model(X)
    assert isinstance(one, Draw)
    assert one.log_px is one.log_px
    assert one.kl is one.kl
    assert isinstance(model, Model)
    assert not isinstance(nn.Linear(2, 2), Model)


@pytest.mark.parametrize("x", [torch.rand(0, 16), torch.rand(16), "x", None, [[0.0] * 16]])
def test_bad_batches_are_refused(x):
    with pytest.raises(ShapeError, match="batch"):
        draw(vae(), x)


def test_other_mistakes_are_named():
    with pytest.raises(BadInput, match="at least 1"):
        draw(vae(), X, samples=0)
    with pytest.raises(ShapeError, match=r"observations of shape \(15,\), but x has \(16,\)"):
        draw(VAE(Pair(), nn.Linear(4, 15), latent=4), X)
    with pytest.raises(ShapeError, match="latent=3"):
        draw(VAE(Pair(), nn.Linear(3, 16), latent=3), X)
    with pytest.raises(ShapeError, match="encoder should return a pair"):
        draw(VAE(nn.Linear(16, 3), nn.Linear(4, 16), latent=4), X)
    with pytest.raises(BadInput, match="two torch modules"):
        VAE(lambda x: x, nn.Linear(4, 16), latent=4)
    for latent in (0, 2.0, True, "4"):
        with pytest.raises(BadInput, match="positive whole number"):
            VAE(Pair(), nn.Linear(4, 16), latent=latent)


def test_laplace_posterior_has_a_reader_of_ones_own():
    def laplace(raw):
        return Independent(Laplace(raw[0], raw[1].exp()), 1)

    one = draw(vae(read_q=laplace), X)
    assert one.kl.shape[0] == 5
    assert one.log_w.isfinite().all()


@pytest.mark.parametrize("x", [torch.rand(5, 15), torch.rand(5, 16).double(), torch.zeros(5, 16, dtype=torch.uint8)])
def test_an_input_that_the_encoder_does_not_take_is_one_sentence(x):
    model = VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4)
    with pytest.raises(ShapeError, match=r"the encoder does not take a tensor of shape \(5, 1[56]\) of "):
        draw(model, x)


def test_a_decoder_of_another_latent_size_is_one_sentence():
    with pytest.raises(ShapeError, match="the decoder does not take"):
        draw(VAE(nn.Linear(16, 8), nn.Linear(5, 16), latent=4), torch.rand(3, 16))


def test_an_error_of_the_network_itself_is_not_hidden():
    class Broken(nn.Module):
        def forward(self, x):
            raise RuntimeError("the licence server is down")

    with pytest.raises(RuntimeError, match="licence server"):
        draw(VAE(Broken(), nn.Linear(4, 16), latent=4), torch.rand(3, 16))


def test_the_prior_made_once_follows_the_model_and_its_copies():
    model = VAE(nn.Linear(6, 4), nn.Linear(2, 6), latent=2)
    assert model.prior() is model.prior()
    twin = copy.deepcopy(model)
    assert twin.prior().base_dist.loc is twin.zero
    model.double()
    assert model.prior().base_dist.loc.dtype == torch.float64
    assert twin.prior().base_dist.loc.dtype == torch.float32
