import base64
import zlib

import pytest
import torch
from torch import nn

from uncollapse import VAE
from uncollapse.diagnosis.gathering import gather
from uncollapse.diagnosis.picturing import images, local_table, projected
from uncollapse.testing.linear import LinearVAE
from uncollapse.testing.metric import gaussian_codes


def test_the_map_shows_the_two_widest_directions():
    mean = torch.randn(500, 4, generator=torch.Generator().manual_seed(0)).double() * torch.tensor([3.0, 0.1, 2.0, 0.1])
    place, share = projected(mean)
    assert share == pytest.approx(13 / 13.02, abs=1e-3)
    assert abs(torch.corrcoef(torch.stack([place[:, 0], mean[:, 0]]))[0, 1]) > 0.98
    assert projected(mean[:, :1])[0].shape == (500, 2)
    assert projected(torch.zeros(5, 3))[1] == 0.0


def test_the_local_table_matches_the_codes(subject_of):
    model = LinearVAE(torch.randn(6, 2, generator=torch.Generator().manual_seed(0)), noise=0.3, posterior="diagonal")
    subject = subject_of(model, model.simulate(400), torch.arange(400) % 2, keep=100)
    found = local_table(subject, gather(subject)[0])
    assert len(found["rows"]) == len(found["map"]) == len(found["kl"]) == 100
    assert found["kl"] == pytest.approx(subject.codes.kl[subject.rows].sum(1).tolist())
    assert found["label"] == [str(row % 2) for row in found["rows"]]
    assert len(found["epsilon"]) == subject.budget.spectra
    assert found["epsilon"] == pytest.approx(
        [found["epsilon"][0]] * subject.budget.spectra
    )  # linear: the same anywhere
    assert found["collapsed_share"] < 0.1


def test_codes_alone_have_a_map_and_no_epsilon(subject_of):
    subject = subject_of(gaussian_codes(2.0, n=300))
    found = local_table(subject, gather(subject)[0])
    assert found["epsilon"] is None
    assert found["collapsed_share"] is None
    assert len(found["map"]) == 300


def unpacked(entry):
    raw = torch.frombuffer(bytearray(zlib.decompress(base64.b64decode(entry["data"]))), dtype=torch.uint8)
    return raw.view(entry["shape"]).float() / 255


class Echo(nn.Module):
    """Decodes a code of two numbers into an image that shows both."""

    def forward(self, z):
        return 20 * z.repeat(1, 8).view(-1, 1, 4, 4)


class Corner(nn.Module):
    """Encodes an image into its first two pixels, less one half."""

    def forward(self, x):
        return x.flatten(1)[:, :2] - 0.5, torch.full((len(x), 2), -9.0)


def test_shuffled_pictures_are_those_of_somebody_else(subject_of):
    x = (torch.rand(64, 2, generator=torch.Generator().manual_seed(0)) > 0.5).float().repeat(1, 8).view(-1, 1, 4, 4)
    subject = subject_of(VAE(Corner(), Echo(), latent=2), x)
    shown = {name: unpacked(entry) for name, entry in images(subject).items()}
    assert torch.allclose(shown["originals"], shown["reconstructions"], atol=0.01)
    assert torch.allclose(shown["originals"].roll(1, 0), shown["shuffled"], atol=0.01)


def test_what_is_no_image_has_no_pictures(subject_of):
    model = LinearVAE(torch.randn(6, 2), noise=0.3, posterior="diagonal")
    assert images(subject_of(model, model.simulate(50))) is None
