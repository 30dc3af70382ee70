import math

import pytest
import torch
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal

from uncollapse import VAE, Codes
from uncollapse.distributions import FixedGaussian
from uncollapse.errors import BadInput
from uncollapse.metrics import information_per_example, local_collapse, mutual_information
from uncollapse.nets import PixelCNN
from uncollapse.testing import LinearVAE
from uncollapse.testing.metric import constant_codes, gaussian_codes


def linear(weight, noise=0.5, n=600):
    model = LinearVAE(weight, noise, posterior="diagonal")  # exact too where the columns are orthogonal
    return model, Codes.of(model, model.simulate(n))


def orthogonal(*lengths):
    return torch.eye(6)[:, : len(lengths)] * torch.tensor(lengths)


def test_linear_model_equals_the_closed_form():
    model, codes = linear(orthogonal(3.0, 1.0))
    found = local_collapse(model, codes, samples=16)
    exact = model.information()
    assert torch.allclose(found.epsilon, torch.full((600,), exact).double(), rtol=1e-4)
    # I(x;z) of the model three ways: epsilon, the mean KL, the mean information.
    assert found.kl.mean() == pytest.approx(exact, abs=0.1)
    assert found.information.mean() == pytest.approx(exact, abs=0.2)
    assert found.collapsed == 0
    assert found.collapsed.n == 600
    assert (found.information_se > 0).all()


def test_kl_of_a_laplace_posterior_is_what_epsilon_predicts():
    """KL_i = epsilon + (|mean|² + tr S - D) / 2 for the exact posterior N(mean, S) with S = (I + J'FJ)^-1."""
    model, codes = linear(orthogonal(2.0, 0.5))
    found = local_collapse(model, codes, rows=torch.arange(50))
    rest = 0.5 * (codes.mean[:50].double().square().sum(1) + (1 / (1 + found.spectrum)).sum(1) - 2)
    assert torch.allclose(found.kl, found.epsilon + rest, atol=1e-4)


def test_a_flat_decoder_with_posteriors_on_the_prior():
    decoder = nn.Linear(8, 6)
    nn.init.zeros_(decoder.weight)
    model = VAE(nn.Linear(6, 16), decoder, 8, read_x=FixedGaussian())
    noise = 0.02 * torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
    codes = Codes.from_gaussian(noise, torch.full((300, 8), 0.99))
    found = local_collapse(model, codes)
    assert found.epsilon.eq(0).all()
    assert (found.collapsed, found.collapsed_by_information) == (1, 1)
    assert local_collapse(model, codes, floor=0).collapsed == 0  # the bare definition: 0.002 nats > tau * 0


def test_an_empty_kl_is_not_taken_for_information():
    model = LinearVAE(torch.eye(8), 0.1)
    found = local_collapse(model, constant_codes())
    assert (found.collapsed, found.collapsed_by_information) == (0, 1)
    assert found.information.abs().max() < 1e-9


def test_one_group_of_inputs_is_collapsed():
    model = LinearVAE(torch.eye(4), 0.05)
    g = torch.Generator().manual_seed(0)
    mean, scale = torch.randn(400, 4, generator=g), torch.full((400, 4), 0.2)
    mean[:100], scale[:100] = 0, 1
    found = local_collapse(model, Codes.from_gaussian(mean, scale), rows=torch.arange(0, 400, 4), samples=16)
    assert found.kl_mask.tolist() == [True] * 25 + [False] * 75
    assert found.information_mask[25:].sum() == 0
    assert found.collapsed == pytest.approx(0.25)
    assert "0.250" in repr(found)
    strict = local_collapse(model, Codes.from_gaussian(mean, scale), tau=50.0)
    assert strict.collapsed == 1


def test_information_is_held_against_what_so_few_examples_can_show():
    codes = gaussian_codes(40.0, 200, 8)
    found = local_collapse(LinearVAE(torch.eye(8), 1e-20), codes)
    assert 0.1 * found.epsilon.min() > math.log(200)
    assert found.collapsed_by_information == 0


def test_autoregressive_decoders_get_their_inputs():
    torch.manual_seed(0)
    model = VAE(nn.Sequential(nn.Flatten(), nn.Linear(25, 4)), PixelCNN.small((1, 5, 5), latent=2), 2)
    x = torch.rand(20, 1, 5, 5).round()
    rows = torch.tensor([3, 7])
    found = local_collapse(model, Codes.of(model, x), rows, x[rows])
    assert found.spectrum.shape == (2, 2)
    assert found.rows.tolist() == [3, 7]
    with pytest.raises(BadInput, match="pass the inputs"):
        local_collapse(model, Codes.of(model, x), rows)


def test_flags():
    sampled = VAE(nn.Linear(6, 4), nn.Linear(2, 6), 2, read_x=lambda t: MultivariateNormal(t, torch.eye(6)))
    codes = Codes.from_gaussian(torch.zeros(5, 2), torch.ones(5, 2))
    assert local_collapse(sampled, codes).collapsed.flags == ("sampled",)
    broken = VAE(
        nn.Linear(6, 4),
        nn.Identity(),
        2,
        read_x=lambda z: Independent(Normal(z / z[:, :1].abs(), 1.0, validate_args=False), 1),
    )
    mean = torch.ones(5, 2)
    mean[2] = 0
    found = local_collapse(broken, Codes.from_gaussian(mean, torch.ones(5, 2)))
    assert found.collapsed.flags == ("1 of 5 inputs without a finite spectrum",)
    assert found.collapsed.n == 4
    assert found.epsilon.isnan().tolist() == [False, False, True, False, False]


@pytest.mark.parametrize("options", [{"tau": -1.0}, {"floor": math.nan}, {"samples": 0}, {"rows": torch.tensor([5])}])
def test_bad_arguments(options):
    with pytest.raises(BadInput):
        local_collapse(LinearVAE(torch.eye(2), 1.0), Codes.from_gaussian(torch.zeros(5, 2), torch.ones(5, 2)),
                       **options)  # fmt: skip


def test_information_of_examples_adds_up_to_the_bracket():
    codes = gaussian_codes(3.0, 500, 4)
    every = information_per_example(codes, torch.arange(500))
    assert every.mean() == pytest.approx(mutual_information(codes).lower, abs=1e-12)
    some = information_per_example(codes, torch.tensor([7, 3]), samples=5)
    assert torch.allclose(some, information_per_example(codes, torch.arange(10), samples=5)[[7, 3]])
    assert not torch.allclose(some, information_per_example(codes, torch.tensor([7, 3]), samples=5, seed=1))


def test_information_of_an_example_converges_to_its_divergence():
    """Against the aggregate N(0, I), the divergence of an example is its KL to the prior."""
    codes = gaussian_codes(2.0, 4000, 2)
    rows = torch.arange(20)
    found = information_per_example(codes, rows, samples=400)
    assert torch.allclose(found, codes.kl[rows].double().sum(1), atol=0.3)
    one = information_per_example(codes, rows)
    assert (one - found).abs().mean() > 0.2  # one draw is noisy


def test_other_families_by_their_own_density():
    codes = gaussian_codes(2.0, 60, 3)
    q = MultivariateNormal(codes.mean.double(), codes.scale.double().square().diag_embed())
    other = Codes(codes.mean, None, codes.sample, codes.kl.sum(1, keepdim=True), posteriors=(q,))
    rows = torch.tensor([5, 1, 40])
    assert torch.allclose(information_per_example(other, rows), information_per_example(codes, rows))
    state = torch.get_rng_state()
    found = information_per_example(other, rows, samples=300)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.allclose(found, information_per_example(codes, rows, samples=300), atol=0.4)


@pytest.mark.parametrize("rows", [torch.tensor([60]), torch.tensor([-1]), torch.tensor([0.5]), torch.tensor(3)])
def test_bad_rows(rows):
    with pytest.raises(BadInput, match="rows"):
        information_per_example(gaussian_codes(2.0, 60, 3), rows)
