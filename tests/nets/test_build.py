"""Networks by name."""

import pytest
import torch

from uncollapse import draw
from uncollapse.distributions import FixedGaussian, bernoulli
from uncollapse.errors import BadInput, ShapeError
from uncollapse.nets import ConvEncoder, MLPDecoder, MLPEncoder, PixelCNN, build_vae


def test_names_and_options():
    model = build_vae({"name": "mlp", "hidden": [8], "activation": "tanh"}, "mlp", (16,), 4, {"gaussian": 0.5})
    assert isinstance(model.encoder, MLPEncoder)
    assert isinstance(model.decoder, MLPDecoder)
    assert model.encoder.features == 8
    assert model.read_x.scale == 0.5
    assert draw(model, torch.rand(3, 16)).elbo.shape == (3,)


def test_presets_can_be_changed():
    model = build_vae({"name": "conv-small", "hidden": 10}, {"name": "pixelcnn-small", "channels": 8}, (1, 8, 8), 4)
    assert isinstance(model.encoder, ConvEncoder)
    assert model.encoder.features == 10
    assert isinstance(model.decoder, PixelCNN)
    assert model.decoder.network.first.weight.shape[0] == 8


def test_likelihoods():
    assert build_vae("mlp", "mlp", (4,), 2).read_x is bernoulli
    plain = build_vae("mlp", "mlp", (4,), 2, "gaussian").read_x
    assert isinstance(plain, FixedGaussian)
    assert plain.scale == 1.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"encoder": "conf"}, ["encoder 'conf'", "mean 'conv'"]),
        ({"decoder": "pixelccn"}, ["decoder 'pixelccn'", "mean 'pixelcnn'"]),
        ({"encoder": {"name": "mlp", "hiden": [3]}}, ["'hiden'", "mean 'hidden'"]),
        ({"decoder": {"name": "pixelcnn-small", "chanels": 3}}, ["'chanels'", "mean 'channels'"]),
        ({"encoder": {"name": "conv-small", "kernel": 3}}, ["'kernel'", "mean 'kernels'"]),
        ({"encoder": {"hidden": [3]}}, ["encoder None", "known: mlp"]),
        ({"encoder": 7}, ["encoder", "7"]),
        ({"likelihood": "bernouli"}, ["mean 'bernoulli'"]),
        ({"likelihood": {"gauss": 1.0}}, ["mean 'gaussian'"]),
        ({"likelihood": {"gaussian": "wide"}}, ["deviation", "'wide'"]),
        ({"likelihood": {"gaussian": -1.0}}, ["positive", "-1"]),
        ({"likelihood": {"bernoulli": 1.0}}, ["no setting"]),
        ({"decoder": "pixelcnn-small", "likelihood": {"gaussian": 1.0}}, ["binary"]),
        ({"latent": 0}, ["latent"]),
        ({"latent": True}, ["latent"]),
    ],
)
def test_mistakes_are_named_with_the_nearest_right_word(arguments, words):
    settings = {"encoder": "mlp", "decoder": "mlp", "shape": (1, 8, 8), "latent": 4}
    with pytest.raises(BadInput) as caught:
        build_vae(**settings | arguments)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_network_that_cannot_take_the_shape_says_so():
    with pytest.raises(ShapeError, match="28 is the smallest"):
        build_vae("conv", "mlp", (1, 8, 8), 4)


@pytest.mark.parametrize("shape", [(), (0,), (-1, 8), (True,), 5, None, (1.5,)])
def test_shapes_that_are_none(shape):
    with pytest.raises(ShapeError, match="shape of one observation"):
        build_vae("mlp", "mlp", shape, 4)
