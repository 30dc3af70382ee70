import torch
from torch import nn

from uncollapse import VAE
from uncollapse.diagnosis.refine import refine
from uncollapse.distributions import FixedGaussian
from uncollapse.testing.linear import LinearVAE


class Constant(nn.Module):
    """An encoder that answers N(0, I) to everything."""

    def forward(self, x):
        return torch.zeros(len(x), 2, dtype=x.dtype), torch.zeros(len(x), 2, dtype=x.dtype)


def truth(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return LinearVAE(torch.randn(8, 2, generator=generator), noise=0.5, posterior="diagonal")


def lagging(model):
    """The same decoder with an encoder that says nothing."""
    decoder = nn.Linear(2, 8)
    with torch.no_grad():
        decoder.weight.copy_(model.weight)
        decoder.bias.copy_(model.bias)
    return VAE(Constant(), decoder, latent=2, read_x=FixedGaussian(0.5**0.5))


def test_the_gain_is_the_gap_to_the_best_posterior():
    model = truth()
    x = model.simulate(64)
    behind = lagging(model)
    found = refine(behind, x, steps=200, width=torch.ones(2))
    start = -0.5 * ((x - model.bias).square().sum(1) + model.weight.square().sum()) / 0.5
    start = start - 4 * torch.log(torch.tensor(2 * torch.pi * 0.5))
    exact = (model.elbo(x) - start).double()
    # single gains are measured on eight noise vectors, at which the start is very uncertain
    assert abs(float(found.gain.mean() / exact.mean()) - 1) < 0.1
    assert float(torch.corrcoef(torch.stack([found.gain, exact]))[0, 1]) > 0.9


def test_the_refined_posterior_is_the_closed_form():
    model = truth(1)
    x = model.simulate(64)
    found = refine(lagging(model), x, steps=300, width=torch.ones(2))
    best = model.posterior(x)
    assert torch.allclose(found.mean, best.mean, atol=0.2)
    assert torch.allclose(found.scale.mean(0), best.stddev.mean(0), rtol=0.1)


def test_a_perfect_encoder_leaves_nothing_to_gain():
    model = truth()
    found = refine(model, model.simulate(64), steps=50, width=torch.ones(2))
    assert 0 <= float(found.gain.mean()) < 0.05
    assert found.used > 1


def test_a_decoder_that_ignores_z_gives_no_gain():
    model = LinearVAE(torch.zeros(8, 2), noise=0.5, posterior="diagonal")
    found = refine(model, model.simulate(64), steps=50, width=torch.ones(2))
    assert float(found.gain.mean()) < 1e-3
    assert abs(found.used) < 1e-5


def test_nothing_moves_but_the_copies(state_kept):
    model = lagging(truth())
    state_kept(model, lambda: refine(model, truth().simulate(16), steps=3, width=torch.ones(2)))
