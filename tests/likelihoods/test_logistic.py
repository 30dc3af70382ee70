import pytest
import torch

from uncollapse.errors import BadInput
from uncollapse.likelihoods import DiscretisedLogistic

LEVELS = torch.arange(256) / 255


@pytest.mark.parametrize("log_scale", [-9.0, -7.0, -4.0, 0.0, 3.0])
def test_the_levels_add_up_to_one(log_scale):
    place = torch.tensor([-3.0, -1.0, -0.3, 0.0, 0.7, 1.0, 40.0])
    raw = torch.stack([place, torch.full_like(place, log_scale)], 1)
    chance = DiscretisedLogistic()(raw).log_prob(LEVELS.reshape(-1, 1, 1).expand(-1, 7, 1)).double().exp()
    torch.testing.assert_close(chance.sum(0), torch.ones(7, dtype=torch.float64), rtol=0, atol=2e-5)


def slow(x, place, log_scale):
    """Equation 2 of PixelCNN++ for one component, in double precision, bin by bin."""
    s, v = log_scale.double().exp(), 2 * x.double() - 1
    upper = torch.where(x >= 1, torch.ones_like(v), torch.sigmoid((v + 1 / 255 - place) / s))
    lower = torch.where(x <= 0, torch.zeros_like(v), torch.sigmoid((v - 1 / 255 - place) / s))
    return (upper - lower).log()


def test_against_differences_of_the_distribution_function():
    torch.manual_seed(0)
    place, log_scale = torch.randn(200), torch.rand(200) * 2 - 1.5  # narrower ones lose digits in the slow form
    x = LEVELS[torch.randint(256, (200,))]
    x[:20], x[20:40] = 0.0, 1.0
    px = DiscretisedLogistic()(torch.stack([place, log_scale], 1))
    torch.testing.assert_close(px.log_prob(x[:, None]).double(), slow(x, place, log_scale), rtol=1e-4, atol=1e-4)


def test_far_tails_are_finite_with_a_gradient():
    raw = torch.tensor([[90.0, -7.0]], requires_grad=True)
    px = DiscretisedLogistic()(raw)
    found = px.log_prob(torch.tensor([[0.4]]))
    found.sum().backward()
    assert found.isfinite().all()
    assert raw.grad.isfinite().all()
    assert raw.grad[0, 0] < 0  # the location is drawn towards the value


def test_mean_and_samples_agree_with_the_probabilities():
    torch.manual_seed(0)
    raw = torch.tensor([[0.2, -2.0], [-1.1, -1.0], [0.0, 2.0]])
    px = DiscretisedLogistic()(raw)
    chance = px.log_prob(LEVELS.reshape(-1, 1, 1).expand(-1, 3, 1)).exp()
    mean = (chance * LEVELS[:, None]).sum(0)
    torch.testing.assert_close(px.mean[:, 0], mean, rtol=0, atol=1e-4)
    drawn = px.sample((20_000,))[..., 0]
    deviation = ((chance * LEVELS[:, None].square()).sum(0) - mean.square()).sqrt()
    assert ((drawn.mean(0) - mean).abs() < 4.5 * deviation / 20_000**0.5).all()
    assert torch.equal((drawn * 255).round() / 255, drawn)
    edge = chance[0] * 20_000
    assert ((drawn == 0).sum(0) - edge).abs().max() < 4.5 * edge.max().sqrt() + 3


def test_values_between_levels_count_as_the_nearest():
    px = DiscretisedLogistic()(torch.zeros(1, 2))
    assert torch.equal(px.log_prob(torch.tensor([[0.1 / 255]])), px.log_prob(torch.zeros(1, 1)))


def test_another_number_of_levels_and_a_shared_scale():
    reader = DiscretisedLogistic(levels=5, scale="shared")
    values = (torch.arange(5) / 4).reshape(-1, 1, 1)
    total = reader(torch.tensor([[0.3]])).log_prob(values).exp().sum()
    assert total.item() == pytest.approx(1.0, abs=1e-5)
    assert [name for name, _ in reader.named_parameters()] == ["log_scale"]


@pytest.mark.parametrize(("levels", "scale"), [(1, "learned"), (2.0, "learned"), (256, "wide"), (256, 0.5)])
def test_settings_that_make_no_sense(levels, scale):
    with pytest.raises(BadInput):
        DiscretisedLogistic(levels, scale)
