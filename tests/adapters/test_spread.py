"""The second parameter of a Gaussian."""

import pytest
import torch

from uncollapse.adapters.spread import SPREADS, sampled_kind, spread_kind

WRITE = {
    "log-variance": lambda sd: 2 * sd.log(), "log-deviation": lambda sd: sd.log(), "deviation": lambda sd: sd,
    "variance": lambda sd: sd**2,
}  # fmt: skip


@pytest.mark.parametrize("kind", list(WRITE))
@pytest.mark.parametrize("level", [0.2, 0.6, 3.0])
def test_samples_tell_how_the_spread_is_written(kind, level):
    random = torch.Generator().manual_seed(0)
    sd = level * (0.5 + torch.rand(100, 4, generator=random))
    mean = torch.randn(100, 4, generator=random)
    z = mean + sd * torch.randn(2, 100, 4, generator=random)
    spread = WRITE[kind](sd)
    torch.testing.assert_close(SPREADS[kind](spread), sd)
    found = sampled_kind(z, mean, spread)
    assert found == kind
    assert spread_kind("", spread, found)[0] == kind


def test_samples_that_cannot_tell_say_nothing():
    mean, one = torch.zeros(100, 4), torch.ones(100, 4)
    assert sampled_kind(mean[None], mean, one) == ""  # no noise
    assert sampled_kind(torch.randn(1, 100, 4), mean, one) == ""  # deviation and variance are the same here
    assert sampled_kind(torch.randn(1, 3, 1), mean[:3, :1], 2 * one[:3, :1]) == ""  # too few


def test_names_then_values():
    signed, positive = torch.tensor([[-1.0, 1.0]]), torch.tensor([[0.5, 1.0]])
    assert spread_kind("log_std", signed) == ("log-deviation", "")
    assert spread_kind("sigma", positive) == ("deviation", "")
    assert spread_kind("fc_var", positive) == ("variance", "")
    assert spread_kind("fc_var", signed)[0] == "log-variance"
    assert spread_kind("", signed)[0] == "log-variance"
    assert spread_kind("", positive)[0] == "deviation"
    assert all(why for _, why in (spread_kind("std", signed), spread_kind("", positive)))
