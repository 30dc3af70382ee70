import pytest
import torch
from torch import nn

from uncollapse import VAE
from uncollapse.diagnosis.encoder_causes import batch_statistics, dead_head, encoder_parameters, outside_optimizer
from uncollapse.distributions import FixedGaussian

X = torch.rand(300, 6, generator=torch.Generator().manual_seed(1))


def vae(encoder=None):
    torch.manual_seed(0)
    return VAE(encoder or nn.Linear(6, 4), nn.Linear(2, 6), latent=2, read_x=FixedGaussian(0.3))


def test_a_live_encoder_is_clear(asked):
    assert asked(dead_head, vae(), X).state == "clear"


@pytest.mark.parametrize("bias", [0.0, 4.0])
def test_weights_of_zero_are_a_dead_head(asked, bias):
    model = vae()
    nn.init.zeros_(model.encoder.weight)
    nn.init.constant_(model.encoder.bias, bias)
    found = asked(dead_head, model, X)
    assert found.state == "found"
    assert found.numbers["dead"] == 2


def test_dead_activations_are_a_dead_head(asked):
    model = vae(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)))
    nn.init.constant_(model.encoder[0].bias, -100.0)
    assert asked(dead_head, model, X).state == "found"


def test_one_dead_latent_of_two_is_told(asked):
    model = vae()
    with torch.no_grad():
        model.encoder.weight[[0, 2]] = 0.0
    found = asked(dead_head, model, X)
    assert (found.state, found.numbers["dead"]) == ("found", 1)


def test_a_collapsed_encoder_that_still_varies_a_little_is_not_dead(asked):
    model = vae()
    with torch.no_grad():
        model.encoder.weight.mul_(1e-3)
    assert asked(dead_head, model, X).state == "clear"


def test_a_frozen_encoder_beside_a_learning_decoder_is_found(asked):
    model = vae()
    model.encoder.requires_grad_(False)
    assert "requires_grad" in asked(dead_head, model, X).sentence
    model.decoder.requires_grad_(False)  # a model loaded for use: nothing learns, and nothing is said
    assert asked(dead_head, model, X).state == "clear"


def test_the_weights_behind_the_posterior_are_those_of_the_encoder(subject_of):
    model = vae()
    used, frozen = encoder_parameters(subject_of(model, X))
    assert {id(p) for p in used} == {id(p) for p in model.encoder.parameters()}
    assert frozen == []


def test_an_encoder_that_the_optimiser_does_not_hold(asked):
    model = vae()
    only = torch.optim.Adam(model.decoder.parameters())
    found = asked(outside_optimizer, model, X, optimizer=only)
    assert (found.state, found.strength, found.numbers["missing"]) == ("found", 1.0, 2)
    whole = torch.optim.Adam(model.parameters())
    assert asked(outside_optimizer, model, X, optimizer=whole).state == "clear"
    assert asked(outside_optimizer, model, X).state == "untested"


def normalised():
    model = vae(nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 4)))
    rule = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(150):
        rule.zero_grad()
        (-model(X).elbo.mean()).backward()
        rule.step()
    model.zero_grad(set_to_none=True)
    return model.eval()


def test_statistics_of_the_data_are_clear(asked):
    assert asked(batch_statistics, normalised(), X).state == "clear"


def test_running_statistics_of_something_else_are_found(asked):
    model = normalised()
    model.encoder[1].running_mean.add_(5.0)
    found = asked(batch_statistics, model, X)
    assert found.state == "found"
    assert found.numbers["shift"] > 0.5


def test_a_model_without_batch_normalisation_is_clear(asked):
    assert asked(batch_statistics, vae(), X).state == "clear"


@pytest.mark.parametrize("test", [dead_head, batch_statistics])
def test_the_model_is_left_as_it_was(subject_of, state_kept, test):
    model = normalised()
    subject = subject_of(model, X)
    state_kept(model, lambda: test(subject, None))


def told(model, x):
    one = model(x)
    return (one.kl.sum(1) - one.log_px[0]).mean()


def detached(model, x):
    q = model.posterior(x)
    z = q.rsample().detach()
    return (-model.likelihood(z).log_prob(x) + 0.5 * q.mean.square().sum(1)).mean()


def unreparametrised(model, x):
    q = model.posterior(x)
    return (-model.likelihood(q.sample()).log_prob(x) + 0.5 * q.mean.square().sum(1)).mean()


def averaged(model, x):
    return torch.nn.functional.mse_loss(model.decoder(model.encoder(x)[:, :2]), x)


@pytest.mark.parametrize("loss", [detached, unreparametrised])
def test_a_loss_in_which_z_is_detached_is_found(asked, loss):
    found = asked(dead_head, vae(), X, loss=loss)
    assert found.state == "found"
    assert "KL alone" in found.sentence


@pytest.mark.parametrize("loss", [told, averaged])
def test_a_loss_that_reaches_the_encoder_is_clear(asked, loss):
    assert asked(dead_head, vae(), X, loss=loss).state == "clear"


def test_a_shift_far_inside_the_posteriors_does_not_matter(asked):
    """A collapsed encoder: its means hardly vary, so that any shift is large beside their own spread."""
    torch.manual_seed(0)
    model = vae(nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4)))
    model.posterior(X)
    with torch.no_grad():
        model.encoder[3].weight.mul_(1e-3)
        model.encoder[3].bias.zero_()
        model.encoder[1].running_mean.add_(3.0)
    assert asked(batch_statistics, model, X).state == "clear"
