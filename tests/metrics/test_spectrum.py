import math

import pytest
import torch
from torch import nn
from torch.distributions import (
    Categorical,
    Gamma,
    Independent,
    Laplace,
    LogNormal,
    MultivariateNormal,
    NegativeBinomial,
    Normal,
    OneHotCategorical,
    Poisson,
)

from uncollapse import VAE, Codes
from uncollapse.distributions import FixedGaussian, Folded
from uncollapse.errors import BadInput, ShapeError, Unsupported
from uncollapse.metrics import Spectrum, lipschitz, local_spectrum
from uncollapse.nets import LID, PixelCNN
from uncollapse.testing import LinearVAE


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def model_of(decoder, read, latent=3, data=6):
    return VAE(nn.Linear(data, 2 * latent), decoder, latent, read_x=read)


def smooth(outputs, latent=3, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(latent, 12), nn.Tanh(), nn.Linear(12, outputs))


def slow(parameters, fisher, z):
    """One example and one output at a time: torch's own Jacobian, and the Fisher matrix of the parameters."""
    jacobian = torch.func.jacrev(parameters)(z).double()
    return torch.linalg.eigvalsh(jacobian.T @ fisher(parameters(z)).double() @ jacobian).flip(0)


def outer(theta):
    pi = theta.softmax(-1)
    return pi.diag() - pi[:, None] * pi


def half(theta):
    return theta.chunk(2, -1)


FAMILIES = {
    "fixed normal": (FixedGaussian(0.5), lambda t: 4 * torch.eye(6)),
    "learned normal": (
        lambda t: Independent(Normal(half(t)[0], half(t)[1].exp()), 1),
        lambda t: torch.cat([(-2 * t[3:]).exp(), torch.full((3,), 2.0)]).diag(),  # 2 for the logarithm of the scale
    ),
    "log-normal": (lambda t: Independent(LogNormal(t, torch.ones_like(t)), 1), lambda t: torch.eye(6)),
    "laplace": (lambda t: Independent(Laplace(t, torch.full_like(t, 0.5)), 1), lambda t: 4 * torch.eye(6)),
    "poisson": (lambda t: Independent(Poisson(t.exp()), 1), lambda t: t.exp().diag()),
    "negative binomial": (
        lambda t: Independent(NegativeBinomial(torch.full_like(t, 5.0), logits=t), 1),
        lambda t: (5 * t.sigmoid()).diag(),
    ),
    "categorical": (lambda t: Categorical(logits=t), outer),
    "one-hot": (lambda t: OneHotCategorical(logits=t), outer),
    "words": (
        lambda t: Independent(Categorical(logits=t.reshape(-1, 2, 3)), 1),
        lambda t: torch.block_diag(outer(t[:3]), outer(t[3:])),
    ),
    "folded": (
        lambda t: Folded(Independent(Normal(t, torch.ones_like(t)), 1), torch.Size((1, len(t)))),
        lambda t: torch.eye(6),
    ),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_families_equal_the_loop(name):
    read, fisher = FAMILIES[name]
    decoder, z = smooth(6), random(5, 3)
    found = Spectrum.of(model_of(decoder, read), z)
    assert found.flags == ()
    for one, at in zip(found.eigenvalues, z, strict=True):
        assert torch.allclose(one, slow(decoder, fisher, at), rtol=1e-4, atol=1e-6)


def test_bernoulli_equals_the_loop_and_any_chunk():
    decoder, z = smooth(20), random(7, 3)
    model = VAE(nn.Linear(20, 6), decoder, 3)
    found = local_spectrum(model, z)
    for one, at in zip(found, z, strict=True):
        assert torch.allclose(one, slow(decoder, lambda t: (t.sigmoid() * (-t).sigmoid()).diag(), at), rtol=1e-4)
    for chunk in (1, 2, 4, 1000):
        assert torch.allclose(local_spectrum(model, z, chunk=chunk), found, rtol=1e-5)


def test_linear_model_holds_its_information():
    """The mean of epsilon is I(x;z) of the model: the same closed form from two sides."""
    weight = random(6, 3)
    model = LinearVAE(weight, 0.5)
    found = Spectrum.of(model, random(4, 3))
    exact = torch.linalg.svdvals(weight).double().square() / 0.5
    assert torch.allclose(found.eigenvalues, exact.expand(4, 3), rtol=1e-5)
    assert found.epsilon.mean() == pytest.approx(model.information(), rel=1e-5)


def test_a_constant_decoder_has_no_spectrum():
    decoder = nn.Linear(3, 6)
    nn.init.zeros_(decoder.weight)
    assert local_spectrum(model_of(decoder, FixedGaussian()), random(4, 3)).eq(0).all()
    free = nn.Module()
    free.forward = lambda z: torch.ones(len(z), 6)  # not even a path to z
    assert local_spectrum(model_of(free, FixedGaussian()), random(4, 3)).eq(0).all()


def test_a_saturated_bernoulli_tells_nothing():
    decoder = nn.Linear(2, 6)
    nn.init.constant_(decoder.bias, 200.0)
    found = local_spectrum(VAE(nn.Linear(6, 4), decoder, 2), random(4, 2))
    assert found.isfinite().all()
    assert found.max() < 1e-30
    nn.init.zeros_(decoder.bias)
    assert local_spectrum(VAE(nn.Linear(6, 4), decoder, 2), random(4, 2)).min() > 1e-3


def test_autoregressive_logits_at_the_true_pixels():
    torch.manual_seed(0)
    decoder = PixelCNN.small((1, 5, 5), latent=2).eval()
    model = VAE(nn.Flatten(), decoder, 2)
    z, x = random(3, 2), torch.rand(3, 1, 5, 5).round()
    found = local_spectrum(model, z, x)
    for one, at, seen in zip(found, z, x, strict=True):
        logits = lambda a, seen=seen: decoder(a[None]).logits(seen[None]).flatten()  # noqa: E731
        truth = slow(logits, lambda t: (t.sigmoid() * (-t).sigmoid()).diag(), at)
        assert torch.allclose(one, truth, rtol=1e-3, atol=1e-8)
    assert not torch.allclose(found, local_spectrum(model, z, 1 - x), rtol=1e-3)
    with pytest.raises(BadInput, match="pass the inputs x"):
        local_spectrum(model, z)


def test_unknown_families_are_sampled():
    weight = random(6, 2)
    decoder = nn.Linear(2, 6)
    decoder.weight.data = weight
    full = model_of(decoder, lambda t: MultivariateNormal(t, torch.eye(6)), 2)
    found = Spectrum.of(full, random(3, 2), samples=20_000)
    assert found.flags == ("sampled",)
    assert torch.allclose(found.eigenvalues, torch.linalg.svdvals(weight).double().square().expand(3, 2), rtol=0.05)
    again = Spectrum.of(full, random(3, 2), samples=20_000)
    assert torch.equal(found.eigenvalues, again.eigenvalues)
    # Gamma with rate 1 and concentration a = e^t: the information about t is a² trigamma(a).
    decoder = smooth(6)
    gamma = model_of(decoder, lambda t: Independent(Gamma(t.exp(), torch.ones_like(t)), 1))
    z = random(2, 3)
    found = Spectrum.of(gamma, z, samples=20_000)
    truth = slow(decoder, lambda t: (t.exp().square() * torch.polygamma(1, t.exp())).diag(), z[0])
    assert torch.allclose(found.eigenvalues[0], truth, rtol=0.08)
    assert found.flags == ("sampled",)


def test_a_count_that_follows_z_is_sampled():
    both = model_of(smooth(6), lambda t: Independent(NegativeBinomial(t.exp(), logits=t), 1))
    assert Spectrum.of(both, random(2, 3)).flags == ("sampled",)


def test_a_family_with_a_density_of_its_own_is_not_taken_for_its_parent():
    class Wider(Normal):
        def log_prob(self, value):
            return Normal(self.loc, 2 * self.scale).log_prob(value)

        def sample(self, sample_shape=()):
            return Normal(self.loc, 2 * self.scale).sample(sample_shape)

    decoder = nn.Linear(2, 6)
    found = Spectrum.of(model_of(decoder, lambda t: Independent(Wider(t, torch.ones_like(t)), 1), 2), random(2, 2),
                        samples=20_000)  # fmt: skip
    assert found.flags == ("sampled",)
    truth = torch.linalg.svdvals(decoder.weight).double().square() / 4
    assert torch.allclose(found.eigenvalues, truth.expand(2, 2), rtol=0.05)


class Once(torch.autograd.Function):
    """tanh with a derivative that has none."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope):
        return slope * (1 - ctx.saved_tensors[0].tanh().square())


def test_decoders_that_are_differentiable_once_are_sampled():
    decoder = nn.Module()
    decoder.forward = Once.apply
    model = model_of(decoder, FixedGaussian(), 3, 3)
    z = torch.zeros(2, 3)
    found = Spectrum.of(model, z, samples=20_000)
    assert found.flags == ("sampled",)
    assert torch.allclose(found.eigenvalues, torch.ones(2, 3).double(), rtol=0.05)
    with pytest.raises(Unsupported, match="twice"):
        lipschitz(model, z)
    inner = nn.Linear(3, 3)
    decoder.forward = lambda z: Once.apply(z) + inner(z)  # a path that works beside one that does not
    assert Spectrum.of(model, z).flags == ("sampled",)


def test_attention_is_differentiated_exactly():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    decoder = nn.Module()
    decoder.forward = lambda z: layer.eval()(torch.stack([z, z.flip(1)], 1)).flatten(1)
    z = random(2, 4)
    found = Spectrum.of(model_of(decoder, FixedGaussian(), 4, 8), z)
    assert found.flags == ()
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        truth = slow(lambda a: decoder(a[None])[0], lambda t: torch.eye(8), z[0])
    assert torch.allclose(found.eigenvalues[0], truth, rtol=1e-3, atol=1e-5)


def test_a_cut_gradient_is_not_a_flat_decoder():
    inner = nn.Linear(3, 6)
    for cut in (lambda t: t.detach(), lambda t: torch.from_numpy(t.detach().numpy() * 2)):
        decoder = nn.Module()
        decoder.forward = lambda z, cut=cut: cut(inner(z))
        with pytest.raises(Unsupported, match="no derivative comes through"):
            local_spectrum(model_of(decoder, FixedGaussian()), random(4, 3))
        with pytest.raises(Unsupported, match="neither"):
            local_spectrum(model_of(decoder, lambda t: MultivariateNormal(t, torch.eye(6))), random(4, 3))


def test_the_model_stays_as_it_was():
    decoder = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 6))
    model = model_of(decoder, FixedGaussian()).train()
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    found = local_spectrum(model, random(4, 3))
    assert torch.equal(torch.get_rng_state(), state)
    assert decoder.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    with torch.no_grad():
        assert torch.equal(local_spectrum(model, random(4, 3)), found)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float64])
def test_precision_of_the_model(kind):
    decoder = smooth(6)
    wanted = local_spectrum(model_of(decoder, FixedGaussian()), random(4, 3))
    found = local_spectrum(model_of(decoder.to(kind), FixedGaussian()).to(kind), random(4, 3).double())
    assert found.dtype == torch.float64
    assert torch.allclose(found, wanted, rtol=0.1 if kind == torch.bfloat16 else 1e-4, atol=1e-2)


def test_a_derivative_that_is_not_a_number_spoils_its_own_example_alone():
    decoder = nn.Module()
    decoder.forward = lambda z: (z / z.abs().clamp(min=0)).cumsum(1) * z  # 0 / 0 at 0
    z = random(3, 3)
    z[1] = 0
    found = local_spectrum(model_of(decoder, FixedGaussian(), 3, 3), z)
    assert found.isnan().all(1).tolist() == [False, True, False]


def test_bad_arguments():
    model = model_of(nn.Linear(3, 6), FixedGaussian())
    with pytest.raises(ShapeError, match=r"\(M, D\)"):
        local_spectrum(model, torch.zeros(3))
    with pytest.raises(ShapeError, match="one input for each"):
        local_spectrum(model, torch.zeros(3, 3), torch.zeros(2, 6))
    for options in ({"chunk": 0}, {"samples": 0}):
        with pytest.raises(BadInput):
            local_spectrum(model, torch.zeros(3, 3), **options)
    with pytest.raises(BadInput, match="of should be"):
        lipschitz(model, torch.zeros(3, 3), of="logits")


def test_lipschitz_of_a_linear_decoder():
    weight = random(6, 3)
    model = LinearVAE(weight, 0.5)
    codes = Codes.from_gaussian(random(400, 3), torch.ones(400, 3))
    exact = torch.linalg.svdvals(weight)
    found = lipschitz(model, codes)
    assert found.singular.shape == (256, 3)
    assert (found.largest, found.smallest) == pytest.approx((float(exact[0]), float(exact[-1])), rel=1e-5)
    assert found.largest.n == 256
    assert math.isnan(found.largest.se)


def test_lipschitz_of_means_and_of_parameters():
    decoder = nn.Linear(2, 6)
    model = VAE(nn.Linear(6, 4), decoder, 2)
    z = random(5, 2)
    by_logits = lipschitz(model, z, of="parameters")
    exact = torch.linalg.svdvals(decoder.weight.detach().double())
    assert torch.allclose(by_logits.singular, exact.expand(5, 2), rtol=1e-5)
    means = torch.func.jacrev(lambda a: decoder(a).sigmoid())(z[0])
    assert torch.allclose(lipschitz(model, z).singular[0], torch.linalg.svdvals(means.double()), rtol=1e-4)
    with pytest.raises(Unsupported, match="not known"):
        lipschitz(model_of(decoder, lambda t: MultivariateNormal(t, torch.eye(6)), 2), z, of="parameters")
    assert lipschitz(model_of(decoder, lambda t: MultivariateNormal(t, torch.eye(6)), 2), z).smallest > 0
    with pytest.raises(Unsupported, match="no mean"):
        lipschitz(VAE(nn.Flatten(), PixelCNN.small((1, 5, 5), latent=2), 2, read_x=lambda d: NoMean(d)), z)


class NoMean(torch.distributions.TransformedDistribution):
    def __init__(self, px):
        super().__init__(Independent(Normal(px.context.flatten(1), 1.0), 1), [], validate_args=False)


def test_lipschitz_keeps_the_promise_of_an_injective_decoder():
    torch.manual_seed(0)
    decoder = LID((8,), latent=2, hidden=8, inverse_lipschitz=1.0)
    found = lipschitz(VAE(nn.Linear(8, 4), decoder, 2), random(50, 2), of="parameters")
    assert found.smallest >= float(decoder.expansion()) * (1 - 1e-4)
    assert lipschitz(VAE(nn.Linear(1, 4), nn.Linear(2, 1), 2), random(5, 2)).smallest < 1e-6  # a direction is lost
