"""The sizes of CR-VAE's public code, and the sides between."""

import pytest
import torch
from torch import nn

from uncollapse.errors import BadInput, ShapeError
from uncollapse.nets import CRDecoder, CREncoder, CRResNetEncoder, PixelCNN, build_vae
from uncollapse.testing import check_model


@pytest.mark.parametrize(
    ("size", "side", "features", "norms"),
    [
        ("tiny", 28, 13 * 13 * 32, 0),
        ("small", 28, 7 * 7 * 64, 0),
        ("small", 32, 8 * 8 * 64, 0),
        ("medium", 28, 4 * 4 * 128, 2),
        ("medium", 32, 4 * 4 * 128, 2),
        ("large", 28, 2 * 2 * 256, 0),
        ("large", 32, 2 * 2 * 256, 0),
    ],
)
def test_encoder_sizes_are_those_of_the_public_code(size, side, features, norms):
    net = CREncoder((1, side, side), 16, size)
    assert net.features == features
    assert net(torch.zeros(2, 1, side, side)).shape == (2, 32)
    assert sum(isinstance(part, nn.BatchNorm2d) for part in net.trunk) == norms
    assert isinstance(net.trunk[-2], nn.ReLU)


@pytest.mark.parametrize(("side", "sides"), [(28, [4, 7, 13, 28]), (32, [4, 8, 16, 32])])
def test_decoder_sides_are_those_of_the_public_code(side, sides):
    net = CRDecoder((3, side, side), 16)
    found = []
    for part in net.body:
        part.register_forward_hook(lambda *args: found.append(args[2].shape[-1]) if args[2].ndim == 4 else None)
    assert net(torch.zeros(2, 16)).shape == (2, 3, side, side)
    assert list(dict.fromkeys(found)) == sides
    convs = [part for part in net.body if isinstance(part, nn.ConvTranspose2d)]
    assert [conv.weight.shape[:2] for conv in convs] == [(256, 128), (128, 64), (64, 32), (32, 3)]
    assert net.body[0].out_features == 4 * 4 * 256


@pytest.mark.parametrize("shape", [(1, 5, 7), (2, 64, 64), (1, 8, 30), (3, 3, 3), (1, 33, 28)])
def test_decoder_takes_any_image(shape):
    assert CRDecoder(shape, 4, widths=(8, 8, 6, 4))(torch.zeros(2, 4)).shape == (2, *shape)


def test_resnet18_without_its_last_stage():
    net = CRResNetEncoder((3, 32, 32), 16)
    assert net.features == 256
    assert sum(isinstance(part, nn.Conv2d) for part in net.trunk.modules()) == 1 + 12 + 2
    # ResNet-18 without classifier has 11,176,512 parameters; its last stage 8,393,728; the stem is 3x3, not 7x7
    assert sum(p.numel() for p in net.trunk.parameters()) == 11_176_512 - 8_393_728 - 3 * 64 * (49 - 9)


@pytest.mark.parametrize("name", ["cr-tiny", "cr-small", "cr-medium", "cr-large"])
def test_models_keep_the_contract(name):
    torch.manual_seed(0)
    decoder = {"name": name, "widths": [8, 6, 4]}
    check_model(build_vae(name, decoder, (1, 8, 8), 3), torch.rand(6, 1, 8, 8).round())


def test_the_resnet_and_its_pixelcnn_keep_the_contract():
    torch.manual_seed(0)
    small = {"name": "cr-pixelcnn", "channels": 6, "bottleneck": 4}
    model = build_vae({"name": "cr-resnet18", "widths": [4, 6]}, small, (1, 6, 6), 3)
    assert isinstance(model.decoder, PixelCNN)
    assert len(model.decoder.network.blocks) == 5
    check_model(model, torch.rand(6, 1, 6, 6).round())


def test_mistakes():
    with pytest.raises(BadInput, match="huge"):
        CREncoder((1, 28, 28), 4, "huge")
    with pytest.raises(ShapeError, match="3x3"):
        CREncoder((1, 2, 28), 4)
    with pytest.raises(BadInput, match="doubling"):
        CRDecoder((1, 28, 28), 4, widths=(8,))
    with pytest.raises(BadInput, match="stage"):
        CRResNetEncoder((1, 28, 28), 4, widths=())
