"""Drawing with a memory gives the very samples of drawing without."""

import copy
import pickle

import pytest
import torch
from torch import nn

from uncollapse.nets import Autoregressive, LIDPixelCNN, PixelCNN
from uncollapse.nets.masked import MaskedConv
from uncollapse.nets.pixelcnn import Stack

NETS = {
    "plain": lambda: PixelCNN((1, 6, 5), 3, channels=8, kernels=(5, 3), bottleneck=6),
    "colour": lambda: PixelCNN((3, 4, 5), 3, channels=7, kernels=(3, 5), bottleneck=6),
    "skips": lambda: PixelCNN((2, 5, 4), 3, channels=8, kernels=(7, 5, 3, 3), bottleneck=6, norm="batch", skip=2),
    "fed": lambda: PixelCNN((1, 5, 6), 3, channels=8, kernels=(3, 3, 3), bottleneck=6, feed="every"),
    "narrow": lambda: PixelCNN((1, 7, 1), 3, channels=8, kernels=(7, 3), bottleneck=6),
    "wide": lambda: PixelCNN((1, 1, 7), 3, channels=8, kernels=(7, 3), bottleneck=6),
    "lid": lambda: LIDPixelCNN((1, 4, 4), 3, hidden=8, channels=8, kernels=(5, 3), bottleneck=6),
}


def build(name, kind=torch.float64):
    torch.manual_seed(0)
    net = NETS[name]().to(kind).eval()
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
        if isinstance(part, MaskedConv):  # strong enough that a slip would show
            part.weight.data.mul_(2)
    return net


class Opaque(nn.Module):
    """A network of which nothing is known."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x, context):
        return self.network(x, context)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NETS)
def test_same_numbers_same_samples(name, kind):
    net = build(name, kind)
    px = net(2 * torch.randn(9, 3, dtype=kind))
    slow = Autoregressive(Opaque(px.network), px.context, tuple(px.event_shape))
    assert 0.01 < px.sample((20,)).mean() < 0.99
    for draw in (lambda p: p.sample(), lambda p: p.sample((2,)), lambda p: p.greedy()):
        torch.manual_seed(3)
        fast = draw(px)
        state = torch.get_rng_state()
        torch.manual_seed(3)
        assert torch.equal(fast, draw(slow))
        assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("name", NETS)
def test_logits_on_the_way_are_those_of_the_whole_image(name, monkeypatch):
    net = build(name)
    px = net(torch.randn(4, 3, dtype=torch.float64))
    seen = []
    plain = torch.bernoulli
    monkeypatch.setattr(torch, "bernoulli", lambda chance: seen.append(chance) or plain(chance))
    torch.manual_seed(1)
    image = px.sample()
    expected = px.expected(image).permute(2, 3, 1, 0).flatten(0, 2)
    torch.testing.assert_close(torch.stack(seen), expected)


def test_one_call_of_the_network_per_pixel_sees_one_pixel(monkeypatch):
    shapes = []
    plain = Stack.forward
    monkeypatch.setattr(Stack, "forward", lambda self, x, c: shapes.append(tuple(x.shape[2:])) or plain(self, x, c))
    build("plain")(torch.zeros(2, 3, dtype=torch.float64)).sample()
    assert shapes == [(1, 1)] * 30


def test_nothing_is_left_behind():
    net = build("skips")
    net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    px = net(torch.randn(2, 3, dtype=torch.float64))
    px.sample()
    assert all(part.memory is None for part in net.modules() if isinstance(part, MaskedConv))
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(part.training for part in net.modules())
    copy.deepcopy(net), pickle.dumps(net)


def test_an_interrupted_drawing_leaves_nothing_behind(monkeypatch):
    net = build("plain")
    px = net(torch.randn(2, 3, dtype=torch.float64))
    x = torch.rand(2, 1, 6, 5).double().round()
    whole = px.log_prob(x)
    monkeypatch.setattr(torch, "bernoulli", lambda chance: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        px.sample()
    torch.testing.assert_close(px.log_prob(x), whole)


def test_autocast():
    net = build("plain", torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        drawn = net(torch.randn(3, 3)).sample()
    assert drawn.dtype == torch.float32
    assert set(drawn.unique().tolist()) <= {0.0, 1.0}
