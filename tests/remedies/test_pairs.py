import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Distribution, Independent

from uncollapse import VAE, draw
from uncollapse.errors import BadInput, ShapeError, Unsupported
from uncollapse.nets import PixelCNN
from uncollapse.remedies import HybridCritic, NeuralCritic, SelfCritic
from uncollapse.remedies.pairs import Task
from uncollapse.testing import Prototypes, ToyModel


@pytest.fixture
def x():
    return Prototypes().sample(6)[0]


def task(gradient, side="model"):
    return Task("x", "sample", side, "multisample", gradient)


def images():
    torch.manual_seed(0)
    return VAE(nn.Sequential(nn.Flatten(), nn.Linear(16, 8)), PixelCNN.small((1, 4, 4), latent=4), latent=4)


def test_inference_side_takes_the_pairs_of_the_batch(x):
    model = ToyModel()
    one = draw(model, x, samples=2)
    pairs = task("reparametrised", "inference").pairs(one, model, "critic")
    assert pairs.x is one.x
    assert pairs.zs is one.z


def test_model_side_samples_the_model(x):
    model = ToyModel(scale=0.5)
    one = draw(model, x, samples=2)
    torch.manual_seed(3)
    pairs = task("reparametrised").pairs(one, model, "critic")
    torch.manual_seed(3)
    z = model.prior().sample((6,))
    assert torch.equal(pairs.zs, z[None])
    assert torch.equal(pairs.x, model.likelihood(z).sample())
    assert pairs.x.requires_grad


def test_straight_through_draws_exact_samples_with_the_gradient_of_the_mean(x):
    model = ToyModel()
    torch.manual_seed(3)
    pairs = task("straight_through").pairs(draw(model, x), model, "critic")
    assert set(pairs.x.unique().tolist()) <= {0.0, 1.0}
    weights = torch.rand_like(pairs.x)
    parameters = list(model.decoder.parameters())
    got = torch.autograd.grad((weights * pairs.x).sum(), parameters)
    mean = (weights * model.likelihood(pairs.zs[0]).mean).sum()
    for a, b in zip(got, torch.autograd.grad(mean, parameters), strict=True):
        torch.testing.assert_close(a, b)


def test_detached_pairs_are_constants(x):
    model = ToyModel()
    pairs = task("detached").pairs(draw(model, x), model, "critic")
    assert not pairs.x.requires_grad
    assert not pairs.zs.requires_grad


@pytest.mark.parametrize(
    "make", [SelfCritic, lambda **k: NeuralCritic((16,), 4, **k), lambda **k: HybridCritic(32, 4, **k)]
)
def test_a_likelihood_without_reparametrised_samples_is_refused_with_ways_out(x, make):
    model = ToyModel()
    critic = make(side="model")
    with pytest.raises(Unsupported, match="samples of Bernoulli have no gradient") as error:
        critic.term(draw(model, x), model)
    assert "gradient='detached'" in str(error.value)
    assert "gradient='straight_through'" in str(error.value)
    assert type(critic).__name__ in str(error.value)


def test_an_autoregressive_decoder_is_sampled_pixel_by_pixel_and_detached_only():
    model = images()
    x = torch.rand(3, 1, 4, 4).round()
    one, calls = draw(model, x), []
    with pytest.raises(Unsupported, match="samples of Autoregressive have no gradient"):
        SelfCritic(side="model").term(one, model)
    with pytest.raises(Unsupported, match="Autoregressive has none; gradient='detached'"):
        SelfCritic(side="model", gradient="straight_through").term(one, model)
    model.decoder.network.register_forward_hook(lambda *_: calls.append(1))
    term = SelfCritic(side="model", gradient="detached").term(one, model)
    assert len(calls) == 16
    term.sum().backward()
    assert all(p.grad.abs().max() > 0 for p in model.encoder.parameters())
    assert all(p.grad is None for p in model.decoder.parameters())


def words(raw):
    return Independent(Categorical(logits=raw.reshape(-1, 4, 4)), 1)


def test_tokens_have_no_mean():
    model = VAE(nn.Linear(4, 8), nn.Linear(4, 16), latent=4, read_x=words)
    one = draw(model, torch.randint(4, (6, 4)).float())
    with pytest.raises(Unsupported, match=r"Categorical describes torch\.int64"):
        task("straight_through").pairs(one, model, "critic")
    assert task("detached").pairs(one, model, "critic").x.dtype == torch.int64


class Silent(Distribution):
    """A likelihood that can only be evaluated."""

    support = torch.distributions.constraints.real_vector
    arg_constraints = {}  # noqa: RUF012

    def __init__(self, base):
        self.base = base
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    def log_prob(self, value):
        return self.base.log_prob(value)


def test_a_likelihood_without_samples_is_refused(x):
    model = ToyModel()
    read = model.read_x
    model.read_x = lambda raw: Silent(read(raw))
    with pytest.raises(Unsupported, match="needs samples of x, but Silent has none"):
        task("detached").pairs(draw(model, x), model, "critic")


class Wide(ToyModel):
    """Describes other observations at another number of codes."""

    def likelihood(self, z):
        return super().likelihood(z) if z.ndim == 3 else super().likelihood(z.repeat(2, 1))


def test_samples_of_another_shape_are_refused(x):
    model = Wide(scale=0.5)
    with pytest.raises(ShapeError, match=r"shape \(6, 16\), got \(12, 16\)"):
        task("reparametrised").pairs(draw(model, x), model, "critic")


def test_normalisation_does_not_remember_the_models_pairs(x):
    encoder = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.Linear(32, 8))
    decoder = nn.Sequential(nn.Linear(4, 32), nn.BatchNorm1d(32), nn.Linear(32, 16))
    model = VAE(encoder, decoder, latent=4)
    one = draw(model, x)
    before = [layer.running_mean.clone() for layer in (encoder[1], decoder[1])]
    SelfCritic(side="model", gradient="straight_through").term(one, model)
    assert torch.equal(encoder[1].running_mean, before[0])
    assert torch.equal(decoder[1].running_mean, before[1])


def test_choices_that_do_not_go_together_are_refused():
    with pytest.raises(BadInput, match="compare should be"):
        Task("x", "mean", "model", "binary", "reparametrised")
    with pytest.raises(BadInput, match='side="model"'):
        Task("x", "sample", "inference", "binary", "detached")
