"""The report's five convolutions, their mirror, and the sizes that they take."""

import pytest
import torch
from torch import nn

from uncollapse.errors import BadInput, ShapeError
from uncollapse.nets import ConvDecoder, ConvEncoder, ResNetEncoder
from uncollapse.nets.conv import SMALL


def convolutions(net, kind):
    return [module for module in net.modules() if isinstance(module, kind)]


def test_defaults_are_the_report():
    encoder, decoder = ConvEncoder((1, 28, 28), 32), ConvDecoder((1, 28, 28), 32)
    down = [(c.out_channels, c.kernel_size[0], c.stride[0]) for c in convolutions(encoder, nn.Conv2d)]
    up = [(c.in_channels, c.kernel_size[0], c.stride[0]) for c in convolutions(decoder, nn.ConvTranspose2d)]
    assert down == [(32, 3, 1), (64, 4, 2), (128, 4, 2), (256, 3, 2), (512, 2, 1)]
    assert up == down[::-1]
    assert encoder.features == 512
    assert not convolutions(decoder, nn.Sigmoid)


@pytest.mark.parametrize("side", list(range(28, 45)))
def test_every_size_from_the_smallest_comes_back(side):
    settings = {"widths": (2, 2, 2, 2, 2), "hidden": 4}
    shape = (1, side, 72 - side)
    assert ConvEncoder(shape, 3, **settings)(torch.zeros(2, *shape)).shape == (2, 6)
    assert ConvDecoder(shape, 3, **settings)(torch.zeros(2, 3)).shape == (2, *shape)


@pytest.mark.parametrize("side", list(range(2, 14)))
def test_the_small_preset_takes_small_images(side):
    shape = (2, side, 15 - side)
    assert ConvEncoder(shape, 3, **SMALL)(torch.zeros(2, *shape)).shape == (2, 6)
    assert ConvDecoder(shape, 3, **SMALL)(torch.zeros(2, 3)).shape == (2, *shape)


@pytest.mark.parametrize("net", [ConvEncoder, ConvDecoder])
@pytest.mark.parametrize("shape", [(1, 27, 28), (1, 28, 8)])
def test_too_small_names_the_smallest(net, shape):
    with pytest.raises(ShapeError, match="28 is the smallest"):
        net(shape, 4)


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("kernel", [2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_smallest_that_is_named_works_and_the_next_below_does_not(padding, kernel, stride):
    plan = {"widths": (2, 2), "kernels": (kernel, 3), "strides": (stride, 1), "padding": (padding, 0), "hidden": 3}
    with pytest.raises(ShapeError, match="is the smallest") as caught:
        ConvEncoder((1, 1, 1), 2, **plan)
    side = int(str(caught.value).split(" is the smallest")[0].split()[-1])
    assert ConvEncoder((1, side, side), 2, **plan)(torch.zeros(1, 1, side, side)).shape == (1, 4)
    with pytest.raises(ShapeError, match=f"{side} is the smallest"):
        ConvEncoder((1, side - 1, side), 2, **plan)


@pytest.mark.parametrize("shape", [(16,), (28, 28), (1, 28, 28, 1)])
@pytest.mark.parametrize("net", [ConvEncoder, ConvDecoder, ResNetEncoder])
def test_only_images(net, shape):
    with pytest.raises(ShapeError, match="MLP"):
        net(shape, 4)


@pytest.mark.parametrize(
    "options",
    [
        {"widths": (8, 8)},
        {"widths": (), "kernels": (), "strides": (), "padding": ()},
        {"widths": (8,), "kernels": (3,), "strides": (4,), "padding": (0,)},
        {"widths": (8,), "kernels": (3,), "strides": (1,), "padding": (3,)},
        {"widths": (0,), "kernels": (3,), "strides": (1,), "padding": (1,)},
        {"hidden": 0},
        {"activation": "none"},
    ],
)
def test_plans_that_do_not_fit_are_refused(options):
    with pytest.raises(BadInput):
        ConvEncoder((1, 28, 28), 4, **options)


def test_resnet_is_the_papers_at_28():
    net = ResNetEncoder((1, 28, 28), 32)
    last = convolutions(net.trunk, nn.Conv2d)[-1]
    assert (last.in_channels, last.out_channels, last.kernel_size) == (64, 512, (4, 4))
    assert net.head.out_features == 64


@pytest.mark.parametrize("options", [{"widths": ()}, {"widths": (8, 0)}, {"widths": 8}, {"hidden": "512"}])
def test_resnet_refuses_bad_widths(options):
    with pytest.raises(BadInput):
        ResNetEncoder((1, 28, 28), 4, **options)
