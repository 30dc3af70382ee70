"""LR-VAE's networks."""

import pytest
import torch
from torch import nn

from uncollapse.errors import BadInput, ShapeError
from uncollapse.nets import NarrowDecoder, NarrowEncoder, ResidualEncoder, WideDecoder, build_vae
from uncollapse.testing import check_model


def linears(net):
    return [(part.in_features, part.out_features) for part in net.modules() if isinstance(part, nn.Linear)]


def test_encoder_of_the_public_code():
    net = ResidualEncoder((1, 28, 28), 28)
    assert linears(net) == [(4 * 4 * 128, 56), (56, 56)]
    strides = [block.body[0].stride[0] for block in net.trunk[:6]]
    assert strides == [2, 1] * 3
    assert [block.body[3].out_channels for block in net.trunk[:6]] == [32, 32, 64, 64, 128, 128]
    assert isinstance(net.head, nn.Linear)
    assert ResidualEncoder((3, 33, 20), 4, widths=(4, 4, 4, 6))(torch.zeros(2, 3, 33, 20)).shape == (2, 8)


def test_decoder_of_the_public_code():
    net = WideDecoder((1, 28, 28), 28)
    assert linears(net) == [(28, 392), (392, 392), (392, 784), (784, 784)]
    assert sum(isinstance(part, nn.BatchNorm1d) for part in net.modules()) == 3
    assert sum(isinstance(part, nn.LeakyReLU) for part in net.modules()) == 3
    assert WideDecoder((1,), 2)(torch.zeros(3, 2)).shape == (3, 1)


@pytest.mark.parametrize("layers", [10, 12])
def test_narrow_networks(layers):
    encoder, decoder = NarrowEncoder((1, 5, 5), 3, layers), NarrowDecoder((1, 5, 5), 3, layers)
    assert linears(encoder) == [(25, 16), *[(16, 16)] * (layers - 1), (16, 6)]
    assert linears(decoder) == [(3, 16), *[(16, 16)] * (layers - 1), (16, 25)]


@pytest.mark.parametrize(
    ("encoder", "decoder"),
    [({"name": "lr-conv", "widths": [4, 6]}, "lr-mlp"), ("narrow-mlp", {"name": "narrow-mlp", "layers": 12})],
)
def test_models_keep_the_contract(encoder, decoder):
    torch.manual_seed(0)
    check_model(build_vae(encoder, decoder, (1, 6, 6), 3, "gaussian"), torch.rand(8, 1, 6, 6))


def test_mistakes():
    with pytest.raises(BadInput, match="pair of blocks"):
        ResidualEncoder((1, 8, 8), 4, widths=())
    with pytest.raises(ShapeError, match="images"):
        ResidualEncoder((8,), 4)
    with pytest.raises(BadInput, match="layers"):
        NarrowEncoder((8,), 4, layers=0)
    with pytest.raises(BadInput, match="width"):
        NarrowDecoder((8,), 4, width=2.0)
