import pytest
import torch
from torch.distributions import Normal, kl_divergence

from uncollapse import draw
from uncollapse.errors import BadInput, Unsupported
from uncollapse.testing import LinearVAE, Prototypes, ToyModel
from uncollapse.wrappers import ScaledMean


@pytest.fixture
def x():
    return Prototypes().sample(64)[0]


@pytest.fixture
def model():
    torch.manual_seed(0)
    return ScaledMean(ToyModel(), spread=1.5)


def test_the_decoder_receives_scaled_means(model, x):
    inner, outer = model.model.posterior(x), model.posterior(x)
    factors = outer.mean / inner.mean
    assert torch.allclose(factors, factors[:1].expand_as(factors), rtol=1e-3)  # the same for all inputs
    assert torch.allclose(outer.mean.std(0, correction=0), torch.full((4,), 1.5), rtol=1e-2)
    assert torch.equal(outer.stddev, inner.stddev)
    torch.manual_seed(0)
    z = draw(model, x).z
    torch.manual_seed(0)
    noise = draw(model.model, x).z - inner.mean
    assert torch.allclose(z, outer.mean + noise, atol=1e-5)


def test_the_loss_counts_the_posterior_before_scaling(model, x):
    inner, prior = model.model.posterior(x).base_dist, Normal(torch.zeros(4), torch.ones(4))
    assert torch.allclose(draw(model, x).kl, kl_divergence(inner, prior))


def test_evaluation_counts_the_posterior_that_is_used(model, x):
    model(x)
    model.eval()
    one, prior = draw(model, x), Normal(torch.zeros(4), torch.ones(4))
    assert torch.allclose(one.kl, kl_divergence(one.q.base_dist, prior))
    assert (one.kl.sum() / draw(model.model, x).kl.sum()) > 1.5


def test_the_training_loss_is_no_bound(model, x):
    """A thousandth of the means: the decoder receives the same codes, and the KL forgets them."""
    torch.manual_seed(0)
    before = draw(model, x)
    with torch.no_grad():
        for parameter in (model.model.encoder.head.weight, model.model.encoder.head.bias):
            parameter[:4].mul_(0.1)
    torch.manual_seed(0)
    after = draw(model, x)
    assert torch.allclose(before.log_px, after.log_px, atol=0.2)
    scales_only = kl_divergence(Normal(torch.zeros_like(after.z[0]), after.q.stddev), Normal(0.0, 1.0))
    assert torch.allclose(after.kl, scales_only, atol=0.01)
    assert before.kl.sum(1).mean() > 5 * after.kl.sum(1).mean()


def test_eps_limits_the_factor(x):
    model = ScaledMean(ToyModel(), spread=1.0, eps=1e-2)
    with torch.no_grad():
        model.model.encoder.head.weight.zero_()
    assert torch.allclose(model.factors(model.model.posterior(x).mean), torch.tensor(10.0))


@pytest.mark.parametrize("given", [{"spread": 0.0}, {"spread": True}, {"eps": -1.0}])
def test_bad_arguments(given):
    with pytest.raises(BadInput, match="should be a positive number"):
        ScaledMean(ToyModel(), **given)


def test_what_it_cannot_do(x):
    with pytest.raises(BadInput, match="at least two, got one"):
        ScaledMean(ToyModel()).posterior(x[:1])
    with pytest.raises(Unsupported, match="ScaledMean needs a diagonal Gaussian"):
        ScaledMean(LinearVAE(torch.randn(16, 3), 0.5)).posterior(x)
