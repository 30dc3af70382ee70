import math

import pytest
import torch
from torch.distributions import Normal

from uncollapse.errors import BadInput, ShapeError
from uncollapse.likelihoods import LearnedGaussian, SharedGaussian


def test_shared_deviation_against_torch():
    raw, x = torch.randn(5, 2, 3), torch.randn(5, 2, 3)
    for scale in (0.01, 0.5, 40.0):
        px = SharedGaussian(scale)(raw)
        torch.testing.assert_close(px.log_prob(x), Normal(raw, scale).log_prob(x).sum((1, 2)), rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(px.mean, raw)


def test_the_best_shared_deviation_is_the_root_of_the_mean_squared_error():
    torch.manual_seed(0)
    reader, error = SharedGaussian(1.0), 0.2 * torch.randn(400, 5)
    optimiser = torch.optim.LBFGS(reader.parameters(), max_iter=50)

    def closure():
        optimiser.zero_grad()
        loss = -reader(torch.zeros(400, 5)).log_prob(error).mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    assert reader.scale.item() == pytest.approx(error.square().mean().sqrt().item(), rel=1e-3)


def test_deviations_stay_above_their_bound_and_are_free_far_above_it():
    shared = SharedGaussian(1.0, smallest=0.1)
    with torch.no_grad():
        shared.log_scale.fill_(-1e4)
    assert shared.scale.item() == pytest.approx(0.1)
    raw = torch.cat([torch.zeros(1, 2), torch.tensor([[-1e4, 5.0]])], 1)
    scale = LearnedGaussian(smallest=0.1)(raw).stddev[0]
    assert scale.tolist() == pytest.approx([0.1, math.exp(5.0)], rel=1e-2)


def test_learned_deviations_against_torch():
    raw, x = torch.randn(4, 6, 3, 3), torch.randn(4, 3, 3, 3)
    px = LearnedGaussian(smallest=1e-6)(raw)
    slow = Normal(raw[:, :3], raw[:, 3:].exp()).log_prob(x).sum((1, 2, 3))
    torch.testing.assert_close(px.log_prob(x), slow, rtol=1e-4, atol=1e-3)
    assert px.event_shape == (3, 3, 3)


def test_reset_goes_back_to_the_start():
    reader = SharedGaussian(0.3)
    with torch.no_grad():
        reader.log_scale.add_(2)
    reader.reset_parameters()
    assert reader.scale.item() == pytest.approx(0.3)


@pytest.mark.parametrize("scale", [0, -1.0, math.nan, math.inf, "wide", True])
def test_deviations_that_are_none(scale):
    with pytest.raises(BadInput, match="positive"):
        SharedGaussian(scale)
    with pytest.raises(BadInput, match="positive"):
        LearnedGaussian(scale)


def test_a_start_below_the_bound_and_an_odd_output_are_refused():
    with pytest.raises(BadInput, match="above its bound"):
        SharedGaussian(0.1, smallest=0.2)
    with pytest.raises(ShapeError, match="double the channels"):
        LearnedGaussian()(torch.zeros(2, 3))
