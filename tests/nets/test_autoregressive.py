"""The likelihood sums to one, samples follow it, and the sampler moves no state."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F

from uncollapse import VAE
from uncollapse.distributions import Folded
from uncollapse.errors import ShapeError, Unsupported
from uncollapse.nets import MLPEncoder, PixelCNN


def decoder(shape, **options):
    torch.manual_seed(0)
    return PixelCNN(shape, 3, **{"channels": 8, "kernels": (3, 3), "bottleneck": 6} | options)


def every_image(shape):
    n = shape[0] * shape[1] * shape[2]
    return torch.tensor(list(product((0.0, 1.0), repeat=n))).reshape(-1, *shape)


@pytest.mark.parametrize("shape", [(1, 2, 3), (2, 2, 2), (3, 1, 2)])
def test_probabilities_of_all_images_add_up_to_one(shape):
    px = decoder(shape)(torch.randn(4, 3) * 3)
    images = every_image(shape)
    total = px.log_prob(images[:, None].expand(-1, 4, *shape)).exp().sum(0)
    torch.testing.assert_close(total, torch.ones(4))


@pytest.mark.parametrize("shape", [(1, 2, 2), (2, 1, 2)])
def test_samples_follow_the_likelihood(shape):
    px = decoder(shape)(torch.randn(1, 3) * 3)
    images = every_image(shape)
    chance = px.log_prob(images[:, None]).exp()[:, 0]
    drawn = px.sample((20_000,))[:, 0]
    count = (drawn[:, None] == images).flatten(2).all(2).float().mean(0)
    error = (chance * (1 - chance) / 20_000).sqrt()
    assert ((count - chance).abs() < 4.5 * error + 1e-6).all()


@pytest.mark.parametrize("shape", [(1, 4, 3), (2, 3, 3)])
def test_leaving_out_lower_rows_changes_nothing(shape):
    net = decoder(shape)
    px = net(torch.randn(5, 3))
    torch.manual_seed(7)
    fast = px.sample()
    torch.manual_seed(7)
    slow = torch.zeros(5, *shape)
    for row, column, channel in product(range(shape[1]), range(shape[2]), range(shape[0])):
        with torch.no_grad():
            chance = px.logits(slow)[:, channel, row, column].sigmoid()
        slow[:, channel, row, column] = torch.bernoulli(chance)
    assert torch.equal(fast, slow)


def test_log_prob_is_the_cross_entropy_of_the_logits():
    px = decoder((1, 4, 4))(torch.randn(3, 3))
    x = torch.rand(3, 1, 4, 4)
    chance = px.logits(x).sigmoid()
    slow = (x * chance.log() + (1 - x) * (1 - chance).log()).sum((1, 2, 3))
    torch.testing.assert_close(px.log_prob(x), slow)
    torch.testing.assert_close(px.expected(x), chance)
    torch.testing.assert_close(
        px.log_prob(x), -F.binary_cross_entropy_with_logits(px.logits(x), x, reduction="none").flatten(1).sum(1)
    )


def test_sample_shapes_and_folding():
    net = decoder((1, 4, 4))
    model = VAE(MLPEncoder((1, 4, 4), 3, hidden=(8,)), net, 3)
    z, x = torch.randn(2, 5, 3), torch.rand(5, 1, 4, 4).round()
    px = model.likelihood(z)
    assert isinstance(px, Folded)
    apart = torch.stack([model.likelihood(z[k]).log_prob(x) for k in range(2)])
    torch.testing.assert_close(px.log_prob(x), apart)
    assert px.sample().shape == (2, 5, 1, 4, 4)
    base = net(z[0])
    assert base.sample((2, 3)).shape == (2, 3, 5, 1, 4, 4)
    many = torch.rand(2, 3, 5, 1, 4, 4).round()
    torch.testing.assert_close(base.log_prob(many)[1, 2], base.log_prob(many[1, 2]))
    torch.testing.assert_close(base.log_prob(x[0]), base.log_prob(x[:1].expand_as(x)))  # one image under every z


def test_greedy_takes_the_likelier_value_at_every_pixel():
    px = decoder((1, 4, 4))(torch.randn(3, 3) * 4)
    image = px.greedy()
    assert torch.equal(image, px.expected(image).round())
    assert torch.equal(image, px.greedy())


def test_samples_are_binary_without_gradient_and_reproducible():
    px = decoder((1, 4, 4))(torch.randn(3, 3))
    torch.manual_seed(3)
    first = px.sample()
    torch.manual_seed(3)
    assert torch.equal(first, px.sample())
    assert set(first.unique().tolist()) <= {0.0, 1.0}
    assert not first.requires_grad
    assert not px.has_rsample
    assert px.support.check(first).all()


def test_sampling_in_training_mode_moves_no_batch_statistics():
    net = decoder((1, 4, 4), norm="batch").train()
    px = net(torch.randn(3, 3))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    px.sample()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(module.training for module in net.modules())


def test_what_cannot_be_had_is_refused():
    px = decoder((1, 4, 4))(torch.randn(3, 3))
    with pytest.raises(Unsupported, match="sample"):
        _ = px.mean
    with pytest.raises(Unsupported, match="sample"):
        _ = px.variance


@pytest.mark.parametrize("shape", [(3, 1, 4, 5), (2, 1, 4, 4), (4, 4), (3, 2, 4, 4)])
def test_images_of_another_shape_are_refused(shape):
    px = decoder((1, 4, 4))(torch.randn(3, 3))
    with pytest.raises(ShapeError, match="describes images"):
        px.log_prob(torch.zeros(shape))


def test_half_precision_networks_give_full_precision_likelihoods():
    net = decoder((1, 4, 4))
    z, x = torch.randn(3, 3), torch.rand(3, 1, 4, 4).round()
    exact = net(z).log_prob(x)
    with torch.autocast("cpu", torch.bfloat16):
        px = net(z)
        rough = px.log_prob(x)
        assert px.sample().dtype == torch.float32
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0.05, atol=0.05)
