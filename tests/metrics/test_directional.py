import pytest
import torch
from torch import nn

from uncollapse import VAE
from uncollapse.distributions import FixedGaussian
from uncollapse.metrics import Spectrum, jacobian, local_spectrum
from uncollapse.metrics.directional import forward_mode, two_backward_passes
from uncollapse.metrics.fisher import parameters_of
from uncollapse.nets import MLPDecoder, PixelCNN


@pytest.fixture(autouse=True)
def forward_always(monkeypatch):
    monkeypatch.setattr(jacobian, "MANY", 0)


def model_of(forward, outputs=6, latent=3, read=None):
    decoder = nn.Module()
    decoder.forward = forward
    return VAE(nn.Linear(outputs, 2 * latent), decoder, latent, read_x=read or FixedGaussian())


def points(rows=5, latent=3):
    return torch.randn(rows, latent, generator=torch.Generator().manual_seed(0))


class Told(torch.autograd.Function):
    """sin, with whatever derivative by forward mode `told` gives; backward is right, and twice differentiable."""

    told = staticmethod(lambda x, tangent: x.cos() * tangent)

    @staticmethod
    def forward(x):
        return x.sin()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, slope):
        return slope * ctx.saved_tensors[0].cos()

    @staticmethod
    def jvp(ctx, tangent):
        return Told.told(ctx.saved_tensors[0], tangent)

    @staticmethod
    def vmap(info, in_dims, x):
        return Told.apply(x), in_dims[0]


@pytest.mark.parametrize("decoder", [MLPDecoder((8,), 3, (16,)), nn.Sequential(nn.Linear(3, 8), nn.Tanh())])
def test_the_two_ways_agree(decoder):
    model, z, ways = VAE(nn.Linear(8, 6), decoder, 3), points(), torch.randn(4, 3)
    with torch.no_grad():
        fast, slow = (way(model, z, None, ways, parameters_of) for way in (forward_mode, two_backward_passes))
    assert fast[1][0].shape == slow[1][0].shape == (5, 4, 8)
    assert torch.allclose(fast[1][0], slow[1][0], atol=1e-6)
    assert torch.allclose(fast[0][0].expand_as(slow[0][0]), slow[0][0], atol=1e-6)


def test_the_loop():
    decoder = MLPDecoder((8,), 3, (16,), activation="tanh")
    with torch.no_grad():
        ((moves,), ways) = (
            forward_mode(VAE(nn.Linear(8, 6), decoder, 3), points(), None, torch.eye(3), parameters_of)[1],
            3,
        )
    for i, at in enumerate(points()):
        assert torch.allclose(moves[i], torch.func.jacrev(decoder)(at[None])[0, :, 0].T, atol=1e-6)
    assert moves.shape[1] == ways


def test_one_pass_for_all_directions():
    """The decoder sees every example once, not once for every direction."""
    seen, inner = [], MLPDecoder((8,), 3, (16,))
    model = model_of(lambda z: (seen.append(len(z)), inner(z))[1], 8)
    local_spectrum(model, points())
    assert max(seen) == 5


@pytest.mark.parametrize("scale", [1.0, 1e-2, 1e-4])
def test_equals_float64(scale):
    """Epsilon to 1e-4 nats, for likelihoods whose noise is as small as the steps of z."""
    decoder = MLPDecoder((8,), 3, (16,), activation="tanh")
    model = VAE(nn.Linear(8, 6), decoder, 3, read_x=FixedGaussian(scale))
    found = Spectrum.of(model, scale * points())
    exact = Spectrum.of(model.double(), scale * points())
    assert torch.allclose(found.epsilon, exact.epsilon, rtol=0, atol=1e-4)


def test_few_points_go_without_what_forward_mode_loads(monkeypatch):
    monkeypatch.setattr(jacobian, "MANY", 16)
    inner, seen = MLPDecoder((8,), 3, (16,)), []
    model = model_of(lambda z: (seen.append(len(z)), inner(z))[1], 8)
    few = local_spectrum(model, points(5))
    assert max(seen) == 15
    assert torch.allclose(local_spectrum(model, points(6))[:5], local_spectrum(model, points(6)[:5]), rtol=1e-5)
    assert few.shape == (5, 3)


def test_a_wrong_derivative_is_found_and_gone_round(monkeypatch):
    model, z = model_of(lambda z: Told.apply(z).repeat(1, 2)), points()
    right = 2 * z.cos().square().sort(1, descending=True).values.double()
    assert torch.allclose(local_spectrum(model, z), right, rtol=1e-5)
    with torch.no_grad():
        forward_mode(model, z, None, torch.eye(3), parameters_of)
        monkeypatch.setattr(Told, "told", staticmethod(lambda x, tangent: 1.2 * x.cos() * tangent))
        with pytest.raises(RuntimeError, match="another derivative"):
            forward_mode(model, z, None, torch.eye(3), parameters_of)
    found = Spectrum.of(model, z)
    assert torch.allclose(found.eigenvalues, right, rtol=1e-5)
    assert found.flags == ()


def test_what_cannot_be_mapped_is_still_exact():
    inner = nn.Linear(3, 6)
    last = torch.channels_last  # a format that torch does not map over
    model = model_of(lambda z: inner(z[:, :, None, None].clone(memory_format=last).flatten(1)))
    z = points()
    with pytest.raises(RuntimeError), torch.no_grad():
        forward_mode(model, z, None, torch.eye(3), parameters_of)
    found = Spectrum.of(model, z)
    assert found.flags == ()
    exact = torch.linalg.svdvals(inner.weight.detach().double()).square()
    assert torch.allclose(found.eigenvalues, exact.expand(5, 3), rtol=1e-5)


def test_the_inputs_go_with_their_points():
    torch.manual_seed(0)
    decoder = PixelCNN.small((1, 5, 5), latent=2).eval()
    model, z, x = VAE(nn.Flatten(), decoder, 2), points(3, 2), torch.rand(3, 1, 5, 5).round()
    whole = local_spectrum(model, z, x)
    assert torch.allclose(whole, local_spectrum(model, z, x, chunk=1), rtol=1e-4)


def test_a_decoder_under_no_grad_is_seen_through():
    inner = nn.Linear(3, 6)
    found = local_spectrum(model_of(torch.no_grad()(inner.forward)), points())
    exact = torch.linalg.svdvals(inner.weight.detach().double()).square()
    assert torch.allclose(found, exact.expand(5, 3), rtol=1e-5)
