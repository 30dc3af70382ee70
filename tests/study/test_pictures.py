"""Pictures of a run: what the code says, and nothing that only looks like it."""

import base64
import zlib

import numpy as np
import pytest
import torch

from uncollapse import data, nets
from uncollapse.study.pictures import packed, pictures, prior_samples, reconstructions

DIGITS = data.load("digits")


def model_with(decoder):
    torch.manual_seed(0)
    return nets.build_vae({"name": "mlp", "hidden": [16]}, decoder, DIGITS.shape, 3)


def test_packed_images_come_back():
    images = torch.rand(2, 1, 3, 4)
    found = packed(images)
    values = np.frombuffer(zlib.decompress(base64.b64decode(found["data"])), np.uint8).reshape(found["shape"])
    assert np.abs(values / 255 - images.numpy()).max() <= 0.5 / 255 + 1e-6


def test_a_closed_mean_is_taken_and_an_autoregressive_one_averaged():
    x = DIGITS.test.tensor()[:4]
    plain = model_with({"name": "mlp", "hidden": [16]})
    expected = plain.likelihood(plain.posterior(x).mean).mean
    torch.testing.assert_close(reconstructions(plain, x, seed=0), expected.detach())
    pixels = reconstructions(model_with("pixelcnn-small"), x, seed=0, draws=16)
    assert pixels.shape == x.shape
    assert len(pixels.unique()) > 2
    torch.testing.assert_close(pixels * 16, (pixels * 16).round())


def test_prior_samples_are_as_many_as_asked_and_the_same_every_time():
    model = model_with({"name": "mlp", "hidden": [16]})
    a, b = (prior_samples(model, 7, seed=3, chunk=4) for _ in range(2))
    assert a.shape == (7, 1, 8, 8)
    assert torch.equal(a, b)
    assert not torch.equal(a, prior_samples(model, 7, seed=4, chunk=4))


@pytest.mark.parametrize(("name", "there"), [("digits", True), ("gaussian-mixture", False)])
def test_only_images_have_pictures(name, there):
    found = data.load(name, **({} if there else {"size": 50}))
    torch.manual_seed(0)
    model = nets.build_vae("mlp", "mlp", found.shape, 3, found.likelihood_setting)
    assert (pictures(model, found, prior_samples(model, 8, 0), 4, 0) is not None) == there
