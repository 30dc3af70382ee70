"""Skip links: what is added where, the plain decoder inside, and the information that depth loses without them."""

import copy
import pickle
from functools import cache

import pytest
import torch
from torch import nn

from uncollapse import VAE, Codes, draw
from uncollapse.errors import BadInput, ShapeError
from uncollapse.metrics import mutual_information
from uncollapse.nets import ConvDecoder, MLPDecoder, MLPEncoder, PixelCNN, SkipDecoder, build_vae
from uncollapse.nets.conv import SMALL
from uncollapse.testing import Prototypes, check_model

PLAIN = {
    "mlp": lambda: MLPDecoder((1, 8, 8), 5, hidden=(12, 7)),
    "conv": lambda: ConvDecoder((2, 8, 8), 5, **SMALL),
    "chain": lambda: nn.Sequential(nn.Linear(5, 9), nn.BatchNorm1d(9), nn.Sequential(nn.ReLU(), nn.Linear(9, 16))),
}


@pytest.mark.parametrize("name", PLAIN)
def test_without_links_it_is_the_plain_decoder(name):
    torch.manual_seed(0)
    plain, z = PLAIN[name]().eval(), torch.randn(6, 5)
    decoder = SkipDecoder(copy.deepcopy(plain), 5).eval()
    assert not torch.allclose(decoder(z), plain(z), atol=1e-2)
    for link in decoder.links:
        nn.init.zeros_(link.weight)
    assert torch.equal(decoder(z), plain(z))


def test_the_formula_layer_by_layer():
    torch.manual_seed(0)
    plain, z = MLPDecoder((3,), 2, hidden=(4, 5), activation="tanh"), torch.randn(6, 2)
    decoder = SkipDecoder(copy.deepcopy(plain), 2)
    first, second = plain.body[0], plain.body[2]
    v2, v3 = (link.weight for link in decoder.links)
    for row, out in zip(z, decoder(z), strict=True):
        h = torch.tanh(first.weight @ row + first.bias)
        h = torch.tanh(second.weight @ h + second.bias + v2 @ row)
        torch.testing.assert_close(out, plain.head.weight @ h + plain.head.bias + v3 @ row)


def test_links_reach_every_position_of_a_convolution():
    torch.manual_seed(0)
    decoder = SkipDecoder(ConvDecoder((2, 8, 8), 3, **SMALL), 3)
    sizes = [link.out_features for link in decoder.links]
    assert sizes == [32 * 2 * 2, 32 * 4 * 4, 16 * 4 * 4, 2 * 8 * 8]
    nn.init.zeros_(decoder.layers[-1].weight)
    z = torch.randn(4, 3)  # the last convolution gives its bias alone, so what is left is linear in z
    expected = decoder.links[-1](z).reshape(4, 2, 8, 8) + decoder.layers[-1].bias[:, None, None]
    torch.testing.assert_close(decoder(z), expected)


def test_concatenation_is_the_same():
    torch.manual_seed(0)
    decoder, z = SkipDecoder(MLPDecoder((3,), 2, hidden=(4,)), 2), torch.randn(6, 2)
    h = decoder.layers[1](decoder.layers[0](z))
    last, link = decoder.layers[2], decoder.links[0]
    joined = torch.cat([h, z], 1) @ torch.cat([last.weight, link.weight], 1).T + last.bias
    torch.testing.assert_close(decoder(z), joined)


def test_the_dry_run_moves_nothing():
    plain = PLAIN["chain"]()
    plain[2].eval()
    before = copy.deepcopy(plain.state_dict())
    decoder = SkipDecoder(plain, 5)
    assert all(torch.equal(plain.state_dict()[key], value) for key, value in before.items())
    assert [layer.training for layer in decoder.layers] == [True, True, False, False]
    twin = pickle.loads(pickle.dumps(decoder.eval()))
    assert torch.equal(twin(torch.ones(2, 5)), decoder(torch.ones(2, 5)))


def test_what_it_cannot_link():
    with pytest.raises(BadInput, match="Sequential, got a Linear"):
        SkipDecoder(nn.Linear(3, 4), 3)
    with pytest.raises(BadInput, match="has 1 linear"):
        SkipDecoder(nn.Sequential(nn.Linear(3, 4)), 3)
    with pytest.raises(ShapeError, match=r"z of shape \(B, 4\)"):
        SkipDecoder(MLPDecoder((16,), 3), 4)
    with pytest.raises(BadInput, match="latent"):
        SkipDecoder(MLPDecoder((16,), 3), 0)


def test_by_name():
    model = build_vae("mlp", {"name": "skip-mlp", "hidden": [8, 8], "activation": "tanh"}, (1, 8, 8), 3)
    assert isinstance(model.decoder, SkipDecoder)
    assert isinstance(model.decoder.layers[1], nn.Tanh)
    assert isinstance(build_vae("mlp", "skip-conv", (1, 28, 28), 3).decoder, SkipDecoder)
    assert build_vae("mlp", {"name": "skip-conv-small", "hidden": 9}, (1, 8, 8), 3).decoder.layers[0].out_features == 9
    with pytest.raises(BadInput, match="mean 'hidden'"):
        build_vae("mlp", {"name": "skip-mlp", "hiden": [8]}, (1, 8, 8), 3)


@pytest.mark.parametrize("name", ["skip-mlp", "skip-conv-small"])
def test_contract(name, device, dtype):
    x = Prototypes().sample(12)[0].reshape(-1, 1, 4, 4).to(device, dtype)
    check_model(lambda: build_vae("mlp", name, (1, 4, 4), 4), x)


def pixelcnn(**given):
    torch.manual_seed(0)
    return PixelCNN((2, 4, 5), 3, **{"channels": 6, "kernels": (5, 3, 3), "bottleneck": 4, "latent_maps": 2} | given)


def test_a_pixelcnn_fed_at_every_block():
    net, z, x = pixelcnn(feed="every", skip=2), torch.randn(4, 3), torch.rand(4, 2, 4, 5).round()
    maps = net.place(net.spread(z).reshape(4, 2, 4, 5)).split(6, 1)
    stack = net.network
    h = [stack.start(stack.first(x) + maps[0])]
    for block in range(1, 3):
        entry = h[-1] if block < 2 else h[-1] + stack.jumps[0](h[0])
        h.append(stack.blocks[block - 1].activation(entry + stack.blocks[block - 1].body(entry) + maps[block]))
    torch.testing.assert_close(net(z).logits(x), stack.last(h[-1] + stack.jumps[1](h[1])))
    torch.manual_seed(1)
    sample = net(z).sample()
    assert sample.shape == x.shape


def test_a_pixelcnn_fed_at_every_block_with_nothing_is_the_plain_one():
    net, plain = pixelcnn(feed="every"), pixelcnn()
    state = {name: value for name, value in net.state_dict().items() if not name.startswith("place")}
    plain.load_state_dict({**state, "place.weight": net.place.weight[:6]})
    nn.init.zeros_(net.place.weight[6:])
    z, x = torch.randn(4, 3), torch.rand(4, 2, 4, 5).round()
    assert torch.equal(net(z).log_prob(x), plain(z).log_prob(x))
    with pytest.raises(BadInput, match="feed should be one of first, every"):
        pixelcnn(feed="all")


@cache
def trained(depth, linked, steps=300):
    """Information and bound of 1,000 images of a plain or linked decoder with so many hidden layers, nats."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        decoder = MLPDecoder((16,), 4, hidden=(32,) * depth)
        model = VAE(
            MLPEncoder((16,), 4, hidden=(32,), activation="tanh"), SkipDecoder(decoder, 4) if linked else decoder, 4
        )
        x, optimiser = Prototypes().sample(1000, seed=1)[0], torch.optim.Adam(model.parameters(), lr=5e-3)
        for _ in range(steps):
            loss = -draw(model, x[torch.randint(len(x), (64,))]).elbo.mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return float(mutual_information(Codes.of(model, x)).lower), draw(model, x).elbo.mean().item()


def test_depth_loses_z_and_links_keep_it():
    (lost, low), (kept, high) = trained(4, False), trained(4, True)
    assert lost < 0.1
    assert kept > 2.0
    assert high > low + 1.0  # and the likelihood gains


def test_a_shallow_decoder_needs_no_links():
    assert trained(1, False)[0] > 1.5
