"""What every encoder and decoder must do, whatever its kind."""

import copy
import io
import pickle

import pytest
import torch
from torch.distributions import Distribution

from uncollapse import VAE, draw
from uncollapse.nets import decoders, encoders
from uncollapse.nets.build import options_of

LATENT = 5
SHAPES = [(1, 8, 8), (3, 8, 8), (2, 9, 13), (1, 28, 28), (3, 32, 32)]
LARGE_ONLY = {"conv", "skip-conv"}  # five convolutions without padding need 28 pixels
VECTORS = {"mlp", "skip-mlp", "lid", "il-lid", "lr-mlp", "narrow-mlp", "flow"}  # not for images only
LIGHT = {  # the same networks with fewer weights
    "resnet": {"widths": (8, 8), "hidden": 16},
    "conv": {"widths": (4, 6, 8, 8, 16), "hidden": 16},
    "pixelcnn": {"channels": 8, "kernels": (7, 5, 3, 3, 3), "bottleneck": 4},
    "mlp": {"hidden": (32, 16)},
    "lid": {"hidden": 16},
    "il-lid": {"hidden": 16},
    "cr-resnet18": {"widths": (4, 6)},
    "lr-conv": {"widths": (4, 6)},
    "flow": {"couplings": 2, "hidden": (16,)},
}
LIGHT |= {f"skip-{name}": LIGHT[name] for name in ("mlp", "conv")}
LIGHT["cr-pixelcnn"] = LIGHT["pixelcnn"]
LIGHT["lid-pixelcnn"] = {**LIGHT["pixelcnn"], "hidden": 16}


def of_numbers(table):
    """Networks of images and vectors; those of text have tests of their own."""
    return {name: made for name, made in table.items() if "vocabulary" not in options_of(made)}


def members():
    for kind, table in (("encoder", of_numbers(encoders())), ("decoder", of_numbers(decoders()))):
        for name in table:
            shapes = [shape for shape in SHAPES if name not in LARGE_ONLY or shape[1] >= 28]
            for shape in [*shapes, (16,)] if name in VECTORS else shapes:
                yield pytest.param(kind, name, shape, id=f"{kind}-{name}-{'x'.join(map(str, shape))}")


def build(kind, name, shape, seed=0):
    torch.manual_seed(seed)
    table = encoders() if kind == "encoder" else decoders()
    return table[name](shape, LATENT, **LIGHT.get(name, {}))


def run(kind, net, shape, batch=4):
    generator = torch.Generator().manual_seed(1)
    if kind == "encoder":
        return net(torch.rand(batch, *shape, generator=generator))
    out = net(torch.randn(batch, LATENT, generator=generator))
    if isinstance(out, Distribution):
        return out.logits(torch.rand(batch, *shape, generator=generator).round())
    return out


@pytest.mark.parametrize(("kind", "name", "shape"), list(members()))
def test_shapes_and_gradients(kind, name, shape):
    net = build(kind, name, shape)
    out = run(kind, net, shape)
    assert out.shape == ((4, 2 * LATENT) if kind == "encoder" else (4, *shape))
    assert out.isfinite().all()
    out.square().sum().backward()
    for parameter, value in net.named_parameters():
        assert value.grad is not None, parameter
        assert value.grad.isfinite().all(), parameter
        assert value.grad.abs().max() > 0, parameter


@pytest.mark.parametrize(("kind", "name", "shape"), list(members()))
def test_seed_copy_pickle_and_print(kind, name, shape):
    net = build(kind, name, shape).eval()
    expected = run(kind, net, shape)
    twin = build(kind, name, shape).eval()
    other = build(kind, name, shape, seed=1).eval()
    assert torch.equal(run(kind, twin, shape), expected)
    assert not torch.equal(run(kind, other, shape), expected)
    for clone in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(run(kind, clone, shape), expected)
    other.load_state_dict(net.state_dict())
    assert torch.equal(run(kind, other, shape), expected)
    assert all(tensor.is_contiguous() for tensor in net.state_dict().values())
    assert type(net).__name__ in repr(net)


@pytest.mark.parametrize(("kind", "name", "shape"), list(members()))
def test_examples_do_not_touch_each_other_in_evaluation(kind, name, shape):
    net = build(kind, name, shape).eval()
    generator = torch.Generator().manual_seed(2)
    z, x = torch.randn(6, LATENT, generator=generator), torch.rand(6, *shape, generator=generator).round()

    def outcome(rows):
        out = net(x[rows] if kind == "encoder" else z[rows])
        return out.log_prob(x[rows]) if isinstance(out, Distribution) else out

    whole = outcome(slice(None))
    torch.testing.assert_close(outcome([4, 1]), whole[[4, 1]], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", list(of_numbers(encoders())))
def test_encoders_are_a_head_on_a_trunk(name):
    shape = (1, 28, 28)
    net = build("encoder", name, shape).eval()
    x = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    features = net.trunk(x)
    assert features.shape == (3, net.features)
    assert torch.equal(net.head(features), net(x))


PAIRS = [
    *((name, "conv-small") for name in of_numbers(encoders())),
    *(("mlp", name) for name in of_numbers(decoders())),
]


@pytest.mark.parametrize(("encoder", "decoder"), PAIRS)
def test_every_network_makes_a_vae_with_several_samples(encoder, decoder):
    shape = (1, 28, 28)
    model = VAE(build("encoder", encoder, shape), build("decoder", decoder, shape), LATENT)
    x = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0)).round()
    d = draw(model, x, samples=2)
    assert d.log_px.shape == (2, 3)
    assert d.elbo.isfinite().all()


def test_weights_survive_a_file():
    net = build("decoder", "pixelcnn", (1, 8, 8)).eval()
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    twin = build("decoder", "pixelcnn", (1, 8, 8), seed=3).eval()
    twin.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(run("decoder", twin, (1, 8, 8)), run("decoder", net, (1, 8, 8)))


@pytest.mark.parametrize("name", ["conv", "conv-small", "mlp", "resnet"])
def test_double_precision(name):
    net = build("encoder", name, (1, 28, 28)).double()
    assert net(torch.rand(2, 1, 28, 28, dtype=torch.float64)).dtype == torch.float64
