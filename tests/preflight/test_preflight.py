import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from uncollapse import VAE, data, preflight
from uncollapse.distributions import FixedGaussian
from uncollapse.errors import BadInput


def model(read_x=None, pixels=64, latent=8):
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(pixels, 32), nn.ReLU(), nn.Linear(32, 2 * latent))
    decoder = nn.Sequential(nn.Linear(latent, 32), nn.ReLU(), nn.Linear(32, pixels))
    return VAE(encoder, decoder, latent, **({} if read_x is None else {"read_x": read_x}))


def images():
    return data.digits(binarise="none").train.tensor().flatten(1)


def state(found, name):
    return next(check.state for check in found.checks if check.name == name)


def test_a_sane_model_is_ready_and_untouched():
    one, x = model(), images()
    before = {k: v.clone() for k, v in one.state_dict().items()}
    random = torch.get_rng_state()
    found = preflight(one, x, epochs=10)
    assert found.ok
    assert found.beta.beta == 1
    assert "Ready" in str(found)
    assert found.seconds[1] == pytest.approx(10 * found.seconds[0])
    assert all(torch.equal(v, one.state_dict()[k]) for k, v in before.items())
    assert torch.equal(random, torch.get_rng_state())
    assert one.training
    assert all(p.grad is None for p in one.parameters())
    json.dumps(found.to_dict(), allow_nan=False)


def test_memory_is_counted():
    one = model()
    weights = sum(p.numel() for p in one.parameters()) * 4
    memory = preflight(one, images(), batch_size=32).memory
    assert memory["parameters"] == weights + 2 * 8 * 4  # and the prior's two buffers
    assert memory["gradients"] == weights
    assert 2 * weights <= memory["optimiser"] < 2 * weights + 100
    assert memory["activations"] >= 32 * (32 + 32 + 64) * 4
    assert memory["peak"] == sum(v for k, v in memory.items() if k != "peak")
    twice = preflight(one, images(), batch_size=64).memory["activations"]
    assert 1.8 < twice / memory["activations"] < 2.2
    plain = preflight(one, images(), optimizer=torch.optim.SGD(one.parameters(), 0.1))
    assert plain.memory["optimiser"] == 0


def test_a_reconstruction_averaged_over_pixels_stops_it():
    def loss(x_hat, x, mean, log_variance):
        kl = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(1).mean()
        return F.mse_loss(x_hat, x) + kl

    found = preflight(model(), images(), loss)
    assert not found.ok
    assert state(found, "KL weight") == "bad"
    assert found.beta.beta == pytest.approx(32, rel=1e-3)
    assert found.active == 0
    assert "averaged over 64 pixels" in str(found)


def test_noise_above_the_data():
    found = preflight(model(FixedGaussian(2.0)), images())
    assert state(found, "latents") == "bad"
    assert found.active == 0
    scale = float(str(found).split("FixedGaussian(")[1].split(")")[0])
    better = preflight(model(FixedGaussian(scale)), images())
    assert state(better, "latents") == "good"
    assert better.active == 8


def test_weights_that_cannot_learn():
    one = model()
    assert state(preflight(one, images(), optimizer=torch.optim.Adam(one.decoder.parameters())), "learnable") == "bad"
    assert state(preflight(one, images(), optimizer=torch.optim.Adam(one.parameters())), "learnable") == "good"
    for p in one.encoder.parameters():
        p.requires_grad_(False)
    found = preflight(one, images())
    assert state(found, "learnable") == "bad"
    assert "frozen" in str(found)
    assert not any(p.requires_grad for p in one.encoder.parameters())


def test_dead_units():
    one = model()
    nn.init.constant_(one.encoder[0].bias, -100.0)
    found = preflight(one, images())
    assert state(found, "units") == "bad"
    assert state(found, "learnable") == "warning"


def test_data_out_of_range():
    found = preflight(model(), images() * 255)
    assert state(found, "data") == "bad"
    assert "x / 255" in str(found)
    broken = images()
    broken[0, 0] = float("nan")
    assert state(preflight(model(), broken), "data") == "bad"


def test_loaders_and_own_models():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.back = nn.Linear(20, 8), nn.Linear(4, 20)

        def encode(self, x):
            return self.body(x).chunk(2, 1)

        def decode(self, z):
            return torch.sigmoid(self.back(z))

        def forward(self, x):
            mean, log_variance = self.encode(x)
            return self.decode(mean + (0.5 * log_variance).exp() * torch.randn_like(mean)), mean, log_variance

    def loss(own, x):
        x_hat, m, v = own(x)
        return F.binary_cross_entropy(x_hat, x, reduction="sum") / len(x) - 0.5 * (1 + v - m**2 - v.exp()).sum(1).mean()

    torch.manual_seed(0)
    loader = DataLoader(TensorDataset(torch.rand(200, 20).round()), batch_size=32)
    found = preflight(Own(), loader, loss, batch_size=32)
    assert found.beta.beta == pytest.approx(1, rel=1e-3)
    assert "epoch of 7 batches" in str(found)
    assert found.ok


def test_bad_arguments():
    with pytest.raises(BadInput, match="two examples"):
        preflight(model(), images()[:1])
    with pytest.raises(BadInput, match="requires 3"):
        preflight(model(), images(), lambda a, b, c: a)
    failing = preflight(model(), images(), lambda m, x: m.nothing(x))
    assert state(failing, "trial steps") == "unknown"
    assert state(failing, "KL weight") == "unknown"
