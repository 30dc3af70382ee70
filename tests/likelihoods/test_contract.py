"""Every likelihood makes a model that keeps the contract, and its parameters are the decoder's."""

import pytest
import torch

from uncollapse import Objective, draw
from uncollapse.metrics import nll, shuffle_gap
from uncollapse.nets import build_vae
from uncollapse.objective import parts_of
from uncollapse.testing import check_model
from uncollapse.wrappers import BatchNormMean

WIDTH = 8
COUNTED = ("negative-binomial", {"negative-binomial": "exp"}, "multinomial")
SETTINGS = (
    "bernoulli", "gaussian", {"gaussian": 0.5}, "gaussian-shared", {"gaussian-shared": 0.3}, "gaussian-learned",
    {"gaussian-learned": 0.1}, "discretised-logistic", {"discretised-logistic": "shared"}, *COUNTED,
)  # fmt: skip


def examples(setting, n=12):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(n, WIDTH, generator=generator)
    if setting in COUNTED:
        return (x * 6).round()
    return x.round() if setting == "bernoulli" else (x * 255).round() / 255


def model(setting, width=WIDTH):
    torch.manual_seed(0)
    small = {"name": "mlp", "hidden": [8]}
    return build_vae(small, small, (width,), 3, setting)


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_the_model_keeps_the_contract(setting):
    check_model(lambda: model(setting), examples(setting))


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_folded_samples_are_scored_one_by_one(setting):
    vae, x = model(setting), examples(setting)
    one = draw(vae, x, samples=3)
    assert one.log_px.shape == (3, 12)
    apart = torch.stack([vae.likelihood(z).log_prob(x) for z in one.z])
    torch.testing.assert_close(one.log_px, apart)


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_metrics_take_it(setting):
    vae, x = model(setting), examples(setting)
    assert nll(vae, x, samples=5).value == pytest.approx(-draw(vae, x).elbo.mean().item(), abs=8)
    assert abs(shuffle_gap(vae, x).value) < 20


def test_parameters_of_a_reader_belong_to_the_decoder_also_inside_wrappers():
    plain = model("gaussian-shared")
    for vae in (plain, BatchNormMean(plain)):
        members = parts_of(vae, Objective())
        assert any(p is plain.read_x.log_scale for p in members["decoder"])
        assert not members["other"]
    assert "read_x.log_scale" in plain.state_dict()


def test_readers_move_and_train_with_the_model():
    vae, x = model("negative-binomial"), examples("multinomial")
    vae.double()
    assert vae.read_x.log_dispersion.dtype == torch.float64
    optimiser = torch.optim.Adam(vae.parameters(), 0.1)
    before = vae.read_x.log_dispersion.detach().clone()
    (-draw(vae, x.double()).elbo.mean()).backward()
    optimiser.step()
    assert (vae.read_x.log_dispersion != before).all()


@pytest.mark.parametrize("setting", ["gaussian-learned", "discretised-logistic"])
def test_images_get_twice_the_channels(setting):
    vae = build_vae("conv-small", "conv-small", (3, 8, 8), 4, setting)
    assert draw(vae, torch.rand(2, 3, 8, 8)).log_px.shape == (1, 2)


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_half_precision_models_give_single_precision_densities(setting):
    vae, x = model(setting).to(torch.bfloat16), examples(setting)
    px = vae.likelihood(torch.zeros(12, 3))
    assert px.log_prob(x).dtype == torch.float32
    assert px.log_prob(x).isfinite().all()
