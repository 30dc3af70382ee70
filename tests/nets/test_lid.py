"""Injective decoders: their bounds, what they cure, and what they do not."""

import math
from functools import cache

import pytest
import torch

from uncollapse import VAE, Codes, draw
from uncollapse.distributions import FixedGaussian, bernoulli
from uncollapse.errors import BadInput, ShapeError
from uncollapse.metrics import mutual_information
from uncollapse.nets import LID, Autoregressive, LIDPixelCNN, MLPEncoder, build_vae
from uncollapse.remedies.rescue import reset_decoder
from uncollapse.testing import LinearVAE, Prototypes, check_model

FORMS = [
    {},
    {"inverse_lipschitz": 0.5},
    {"inverse_lipschitz": 2.0, "matrix": "identity"},
    {"inverse_lipschitz": 1.0, "singular": (1.0, 10.0), "layers": 3},
    {"inverse_lipschitz": 1.0, "activation": "leaky_relu", "weights": "exp"},
]


def build(shape=(2, 3, 3), latent=3, moved=True, **given):
    torch.manual_seed(0)
    net = LID(shape, latent, **{"hidden": 11} | given).double()
    if moved:  # as after some training
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(0.5 * torch.randn_like(parameter))
    return net


def codes(n, latent=3, scale=2.0, seed=1):
    return scale * torch.randn(n, latent, generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize("given", FORMS)
def test_no_two_codes_share_an_output(given):
    net, z = build(**given), codes(400)
    near = z + 1e-4 * codes(400, seed=2)
    with torch.no_grad():
        for other in (z.flip(0), near):
            ratio = (net(z) - net(other)).flatten(1).norm(dim=1) / (z - other).norm(dim=1)
            assert (ratio > 0).all()
            assert (ratio >= net.expansion() - 1e-7).all()
    factor = net.lift.smallest()
    assert net.expansion() == pytest.approx(given.get("inverse_lipschitz", 0.0) ** 2 * factor)


@pytest.mark.parametrize("given", FORMS)
def test_singular_values_of_the_jacobian(given):
    net = build(**given)
    for row in codes(10):
        values = torch.linalg.svdvals(torch.autograd.functional.jacobian(lambda z: net(z[None]).flatten(), row))
        assert values.min() > net.expansion()
        assert values.max() < math.inf
        assert values.min() > 1e-6


def test_the_formula():
    net, z = build(inverse_lipschitz=0.5), codes(5).requires_grad_()
    u = torch.autograd.grad(net.inner(z).sum(), z)[0]
    y = u @ net.lift.matrix().T
    expected = torch.autograd.grad(net.outer(y).sum(), y)[0]
    torch.testing.assert_close(net(z), expected.reshape(5, 2, 3, 3))


def test_the_matrix_has_the_singular_values_it_promises():
    lift = build(singular=(0.5, 2.0)).lift
    with torch.no_grad():
        lift.scale.copy_(torch.tensor([-30.0, 0.0, 30.0]))
        found = torch.linalg.svdvals(lift.matrix())
    torch.testing.assert_close(found, torch.tensor([2.0, 1.0, 0.5]).double())
    assert lift.smallest() == pytest.approx(0.5)
    assert build(moved=False).lift.values().tolist() == pytest.approx([1.0] * 3)
    assert 1.0 < build(moved=False, singular=(1.0, 10.0)).lift.smallest() < 1.5


def test_the_columns_are_those_of_gram_and_schmidt():
    lift = build().lift
    columns = []
    for column in lift.free.detach().T:
        for done in columns:
            column = column - (done @ column) * done
        columns.append(column / column.norm())
    torch.testing.assert_close(lift.matrix(), torch.stack(columns, 1) * lift.values())


def test_identity_pads_with_zeros_and_ties_the_first_numbers_to_z():
    net, a, b = build(matrix="identity", inverse_lipschitz=1.0), codes(50), codes(50, seed=3)
    assert not any("lift" in name for name, _ in net.named_parameters())
    with torch.no_grad():
        u, v = net.inner.gradient(a), net.inner.gradient(b)
        assert torch.equal(net.lift(u), torch.cat([u, torch.zeros(50, 15).double()], 1))
        first = (net(a) - net(b)).flatten(1)[:, :3]  # in a picture these are border, and yet:
        assert ((first * (u - v)).sum(1) >= (u - v).square().sum(1) - 1e-9).all()


def test_half_precision_and_no_gradient():
    net, z = build(moved=False).float(), codes(6).float()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rough = net(z)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, net(z), rtol=0.1, atol=0.1)
    assert build(moved=False).to(torch.bfloat16)(z.bfloat16()).isfinite().all()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"latent": 20}, "at least latent=20"),
        ({"hidden": 2}, "at least latent=3"),
        ({"inverse_lipschitz": -1}, "inverse_lipschitz should be a finite"),
        ({"matrix": "eye"}, "matrix should be one of trained, identity"),
        ({"singular": (2.0, 1.0)}, "0 < smallest < largest"),
        ({"singular": (0, 1)}, "0 < smallest < largest"),
        ({"singular": "12"}, "0 < smallest < largest"),
        ({"latent": 0}, "latent"),
    ],
)
def test_settings_that_make_no_sense(given, words):
    with pytest.raises(BadInput, match=words):
        LID(**{"shape": (16,), "latent": 3, "hidden": 8} | given)


def test_a_narrow_network_is_fine_with_the_quadratic_term():
    net, z = LID((16,), 3, hidden=2, inverse_lipschitz=1.0), codes(50).float()
    assert ((net(z) - net(z.flip(0))).norm(dim=1) >= net.expansion() * (z - z.flip(0)).norm(dim=1) - 1e-4).all()


@pytest.mark.parametrize("name", ["lid", "il-lid", "lid-pixelcnn-small"])
def test_contract(name, device, dtype):
    x = Prototypes().sample(12)[0].reshape(-1, 1, 4, 4).to(device, dtype)
    check_model(lambda: build_vae("mlp", {"name": name, "hidden": 16}, (1, 4, 4), 4), x)


def test_contract_of_the_paper_activation(device, dtype):
    x = Prototypes().sample(12)[0].to(device, dtype)
    check_model(VAE(MLPEncoder((16,), 4), LID((16,), 4, 16, activation="leaky_relu"), 4, read_x=FixedGaussian(1.0)), x)


@pytest.mark.parametrize("name", ["lid", "il-lid", "lid-pixelcnn-small", "skip-mlp"])
def test_a_reset_gives_another_decoder_of_the_same_kind(name):
    torch.manual_seed(0)
    model = build_vae("mlp", name, (1, 4, 4), 4)
    before = {key: value.clone() for key, value in model.decoder.state_dict().items()}
    reset_decoder(model)
    for key, value in model.decoder.state_dict().items():
        assert not torch.equal(value, before[key]) or key.endswith("scale")
        if value.numel() > 200:
            assert value.std().item() == pytest.approx(before[key].std().item(), rel=0.3)


def test_by_name():
    net = build_vae("mlp", "il-lid", (1, 8, 8), 4).decoder
    assert (net.inner.convexity, net.lift.low) == (0.5, 1.0)
    assert build_vae("mlp", {"name": "lid", "hidden": 7}, (1, 8, 8), 4).decoder.inner.convexity == 0
    with pytest.raises(BadInput, match="mean 'singular'"):
        build_vae("mlp", {"name": "il-lid", "singlar": [1, 2]}, (1, 8, 8), 4)
    with pytest.raises(BadInput, match="binary"):
        build_vae("mlp", "lid-pixelcnn-small", (1, 8, 8), 4, "gaussian")
    with pytest.raises(ShapeError, match="PixelCNN expects images"):
        LIDPixelCNN((16,), 4)


def head(**given):
    torch.manual_seed(0)
    return LIDPixelCNN((1, 4, 4), 4, **{"hidden": 32, "channels": 16, "kernels": (5, 3), "bottleneck": 8} | given)


def test_the_pixelcnn_adds_an_injective_map_to_its_logits():
    net, z, x = head(inverse_lipschitz=1.0).double(), codes(5, 4), torch.rand(5, 1, 4, 4).round().double()
    px = net(z)
    assert isinstance(px, Autoregressive)
    own = net.network.stack(x, torch.zeros(1, 16, 1, 1).double())
    torch.testing.assert_close(px.logits(x), own + net.shift(z))
    apart = (px.logits(x) - net(z + 1).logits(x)).flatten(1).norm(dim=1)
    assert (apart >= net.expansion() * 2 - 1e-9).all()
    assert px.sample().shape == x.shape


# --- what a linear decoder leaves unused: pPCA with N = 500, D = 5, one factor in the data, two in the model ---


@cache
def one_factor():
    generator = torch.Generator().manual_seed(0)
    weight, factor = (torch.randn(n, 1, generator=generator).double() for n in (5, 500))
    return factor @ (2 * weight).T + 0.1 * torch.randn(500, 5, generator=generator).double()


def test_with_exact_inference_a_linear_decoder_collapses_along_the_second_latent():
    x = one_factor() - one_factor().mean(0)
    model = LinearVAE.optimal(x.T @ x / len(x), latent=2, noise=1.0)
    exact = LinearVAE(model.weight, 1.0).double().posterior(x)  # full covariance, no approximation
    assert model.weight[:, 1].norm() == 0  # the likelihood does not depend on it
    assert torch.equal(exact.mean[:, 1], torch.zeros(500).double())
    torch.testing.assert_close(exact.covariance_matrix[:, 1, 1], torch.ones(500).double())
    assert exact.covariance_matrix[0, 0, 0] < 0.2


@cache
def exact_moments(inverse_lipschitz, steps=60):
    """Along the direction that the posterior means use least: their variance, and the mean posterior variance.

    The decoder is fitted to the exact marginal likelihood, and posteriors are exact up to the grid.
    """
    x, line = one_factor().float(), torch.linspace(-4, 4, 25)
    grid = torch.cartesian_prod(line, line)
    prior = (-0.5 * grid.square().sum(1)).log_softmax(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = LID((5,), 2, hidden=16, inverse_lipschitz=inverse_lipschitz, singular=(1.0, 10.0))
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-2)
    for _ in range(steps):
        joint = prior - 0.5 * torch.cdist(x, net(grid)).square()
        optimiser.zero_grad()
        (-joint.logsumexp(1).mean()).backward()
        optimiser.step()
    chance = (prior - 0.5 * torch.cdist(x, net(grid)).square()).softmax(1).detach()
    mean = chance @ grid
    spread, axes = torch.linalg.eigh(torch.cov(mean.T))
    inside = chance @ (grid @ axes[:, 0]).square() - (mean @ axes[:, 0]).square()
    return spread[0].item(), inside.mean().item()


def test_injectivity_moves_the_posterior_off_the_prior_but_adds_no_information():
    spread, inside = exact_moments(0.0)
    assert inside > 0.9  # injective, and yet as good as flat: the plain form has no lower bound
    spread, inside = exact_moments(2.0)
    assert inside < 0.8  # the prior has 1
    assert spread < 0.1  # but it is the same narrower posterior for every x


# --- trained ---


@cache
def trained(inverse_lipschitz, scale=None, pixels=False, steps=200):
    """Information and KL of 1,000 images of `Prototypes`, nats."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x = Prototypes().sample(1000, seed=1)[0]
        x = x.reshape(-1, 1, 4, 4) if pixels else x
        lid = LID((16,), 4, 32, inverse_lipschitz=inverse_lipschitz, singular=(1.0, 10.0))
        decoder = head(inverse_lipschitz=inverse_lipschitz) if pixels else lid
        encoder = MLPEncoder(x.shape[1:], 4, hidden=(32,), activation="tanh")
        model = VAE(encoder, decoder, 4, read_x=FixedGaussian(scale) if scale else bernoulli)
        optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
        for _ in range(steps):
            loss = -draw(model, x[torch.randint(len(x), (64,))]).elbo.mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        codes = Codes.of(model, x)
        return float(mutual_information(codes).lower), float(codes.kl.sum(1).mean())


def test_information_rises_with_the_inverse_lipschitz_constant():
    plain, middle, high = (trained(constant)[0] for constant in (0.0, 1.0, 2.0))
    assert plain + 0.5 < middle < high
    assert high > 1.8


def test_under_noise_that_drowns_the_data_only_the_kl_rises():
    assert max(trained(0.0, scale=2.0)) < 0.05
    information, kl = trained(2.0, scale=2.0)
    assert kl > 1.5
    assert information < 0.3


def test_a_pixelcnn_with_an_injective_head_keeps_what_the_plain_form_loses():
    assert trained(0.0, pixels=True)[0] < 0.2
    assert trained(2.0, pixels=True)[0] > 1.0
