import math

import pytest
import torch
from torch import Size, nn
from torch.distributions import Bernoulli, Categorical, Independent, Laplace, MultivariateNormal, Normal, kl_divergence

from uncollapse.distributions import (
    FixedGaussian,
    Folded,
    bernoulli,
    describe,
    diagonal,
    gaussian,
    kl_per_dimension,
    standard_normal,
)
from uncollapse.errors import BadInput, ShapeError, Unsupported


def test_gaussian_reads_a_pair_a_tensor_and_a_distribution():
    torch.manual_seed(0)
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    pair, whole = gaussian((mean, log_variance)), gaussian(torch.cat([mean, log_variance], 1))
    for q in (pair, whole, gaussian([mean, log_variance])):
        assert (q.batch_shape, q.event_shape) == (Size([5]), Size([3]))
        assert torch.equal(q.mean, mean)
        torch.testing.assert_close(q.variance, log_variance.exp())
    assert gaussian(pair) is pair


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_readers_leave_half_precision(dtype):
    assert gaussian(torch.zeros(2, 4, dtype=dtype)).mean.dtype == torch.float32
    assert bernoulli(torch.zeros(2, 4, dtype=dtype)).log_prob(torch.ones(2, 4)).dtype == torch.float32
    assert FixedGaussian()(torch.zeros(2, 4, dtype=dtype)).mean.dtype == torch.float32
    assert gaussian(torch.zeros(2, 4).double()).mean.dtype == torch.float64


@pytest.mark.parametrize(
    "raw",
    [
        torch.zeros(2, 3),
        torch.zeros(2, 2, 2),
        (torch.zeros(2, 3),),
        (torch.zeros(2, 3), 1.0),
        (torch.zeros(2, 3), torch.zeros(2, 2)),
        (torch.zeros(2, 3, 1), torch.zeros(2, 3, 1)),
        (torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2, 3)),
        "mean",
        None,
    ],
)
def test_gaussian_refuses_anything_else(raw):
    with pytest.raises(ShapeError):
        gaussian(raw)


def test_bernoulli_by_hand_and_for_grey_values():
    logits = torch.tensor([[0.0, math.log(3.0)]])
    assert bernoulli(logits).log_prob(torch.tensor([[1.0, 0.0]])).item() == pytest.approx(math.log(0.5 * 0.25))
    grey = bernoulli(logits).log_prob(torch.tensor([[0.5, 0.5]])).item()
    assert grey == pytest.approx(0.5 * math.log(0.25) + 0.5 * math.log(0.75 * 0.25))
    given = Independent(Bernoulli(probs=torch.ones(2, 3) / 2), 1)
    assert bernoulli(given) is given


def test_fixed_gaussian_by_hand():
    value = FixedGaussian(0.5)(torch.zeros(1, 2)).log_prob(torch.tensor([[1.0, 0.0]])).item()
    assert value == pytest.approx(-2.0 - math.log(2 * math.pi) - 2 * math.log(0.5))
    x, mean = torch.rand(4, 3), torch.rand(4, 3)
    report = FixedGaussian(math.sqrt(0.5))(mean).log_prob(x) + 1.5 * math.log(math.pi)
    torch.testing.assert_close(-report, (x - mean).square().sum(1))
    assert repr(FixedGaussian(0.5)) == "FixedGaussian(0.5)"
    assert FixedGaussian()(standard_normal(3)).event_shape == (3,)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan])
def test_fixed_gaussian_refuses_a_bad_scale(scale):
    with pytest.raises(BadInput):
        FixedGaussian(scale)


@pytest.mark.parametrize("reader", [bernoulli, FixedGaussian()])
@pytest.mark.parametrize("raw", [torch.zeros(3), (torch.zeros(2, 3),), None])
def test_likelihoods_refuse_anything_but_one_tensor(reader, raw):
    with pytest.raises(ShapeError, match="the decoder should return"):
        reader(raw)


def test_kl_per_dimension_of_each_kind():
    torch.manual_seed(0)
    q, prior = gaussian(torch.randn(5, 6)), standard_normal(3)
    factored = kl_per_dimension(q, prior)
    assert factored.shape == (5, 3)
    torch.testing.assert_close(factored.sum(1), kl_divergence(q, prior))
    full = MultivariateNormal(torch.randn(5, 3), torch.eye(3))
    joint = kl_per_dimension(full, MultivariateNormal(torch.zeros(3), torch.eye(3)))
    assert joint.shape == (5, 1)
    assert kl_per_dimension(Independent(Laplace(torch.zeros(5, 3), 1.0), 1), full) is None


def test_diagonal():
    q = gaussian(torch.zeros(5, 6))
    mean, scale = diagonal(q, "me")
    assert mean.shape == scale.shape == (5, 3)
    assert diagonal(Normal(mean, scale), "me")[0] is mean
    with pytest.raises(Unsupported, match=r"me needs a diagonal Gaussian posterior, got Laplace"):
        diagonal(Independent(Laplace(mean, scale), 1), "me")


def folded():
    torch.manual_seed(0)
    base = bernoulli(torch.randn(6, 1, 4, 4))
    return base, Folded(base, Size([2, 3]))


def test_folded_shapes_and_moments():
    base, px = folded()
    assert (px.batch_shape, px.event_shape) == (Size([2, 3]), Size([1, 4, 4]))
    assert torch.equal(px.mean, base.mean.reshape(2, 3, 1, 4, 4))
    assert torch.equal(px.variance, base.variance.reshape(2, 3, 1, 4, 4))
    assert px.sample().shape == (2, 3, 1, 4, 4)
    assert px.sample(Size([7])).shape == (7, 2, 3, 1, 4, 4)
    assert repr(px.support) == repr(base.support)


def test_folded_log_prob_of_a_batch_and_of_a_stack():
    base, px = folded()
    x = torch.rand(3, 1, 4, 4).round()
    expected = torch.stack([base.log_prob(torch.cat([x, x])).reshape(2, 3)[k] for k in range(2)])
    assert torch.equal(px.log_prob(x), expected)
    assert torch.equal(px.log_prob(x.expand(2, 3, 1, 4, 4)), expected)


def test_folded_keeps_reparametrised_gradients():
    mean = torch.zeros(4, 2, requires_grad=True)
    px = Folded(FixedGaussian()(mean), Size([2, 2]))
    px.rsample(Size([3])).sum().backward()
    assert torch.equal(mean.grad, torch.full((4, 2), 3.0))


def test_standard_normal_and_describe():
    prior = standard_normal(3)
    assert (prior.batch_shape, prior.event_shape) == (Size([]), Size([3]))
    assert prior.log_prob(torch.zeros(3)).item() == pytest.approx(-1.5 * math.log(2 * math.pi))
    assert describe(torch.zeros(2, 3)) == "a tensor of shape (2, 3)"
    assert describe((torch.zeros(1), 2)) == "a tuple of 2 (a tensor of shape (1,), a int)"
    assert describe(nn.ReLU()) == "a ReLU"
    assert describe(Categorical(torch.ones(2))) == "a Categorical"


@pytest.mark.parametrize("shape", [(6,), (1, 2, 3)])
def test_bits_are_torchs_independent_bernoulli_variables(shape):
    logits = torch.randn(5, *shape, generator=torch.Generator().manual_seed(0)).mul_(30)
    x = torch.rand(5, *shape, generator=torch.Generator().manual_seed(1)).round()
    plain = Independent(Bernoulli(logits=logits, validate_args=False), len(shape), validate_args=False)
    bits = bernoulli(logits)
    assert isinstance(bits, Independent)
    assert isinstance(bits.base_dist, Bernoulli)
    assert (bits.batch_shape, bits.event_shape) == ((5,), shape)
    torch.testing.assert_close(bits.log_prob(x), plain.log_prob(x))
    torch.testing.assert_close(bits.log_prob(x[:1]), plain.log_prob(x[:1]))  # broadcast
    torch.testing.assert_close(bits.log_prob(x.double()), plain.log_prob(x.double()))
    more = x.expand(4, 5, *shape)
    torch.testing.assert_close(bits.log_prob(more), plain.log_prob(more))
    torch.testing.assert_close(bits.expand((3, 5)).log_prob(x), plain.expand((3, 5)).log_prob(x))


def test_the_divergence_from_a_known_standard_normal_is_torchs():
    generator = torch.Generator().manual_seed(0)
    mean, log_variance = torch.randn(4, 3, generator=generator), torch.randn(4, 3, generator=generator)
    q, prior = gaussian((mean, log_variance)), standard_normal(3)
    expected = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(torch.zeros(3), torch.ones(3)))
    torch.testing.assert_close(kl_per_dimension(q, prior), expected)
    assert prior.expand((7,)).sample().shape == (7, 3)
    torch.testing.assert_close(kl_per_dimension(q, prior.expand((4,))), expected)
