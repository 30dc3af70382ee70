"""The verdict of posteriors whose state is known."""

import pytest
import torch

from uncollapse import Codes
from uncollapse.metrics import Estimate, active_units, kl, mutual_information
from uncollapse.verdict import verdict

N, D = 1000, 4
NOISE = torch.randn(N, D, generator=torch.Generator().manual_seed(0))


def judged(mean, scale, gap=None):
    codes = Codes.from_gaussian(mean, scale)
    gap = None if gap is None else Estimate(gap, se=0.01)
    return verdict(kl(codes), mutual_information(codes), active_units(codes), gap)


@pytest.mark.parametrize(
    ("mean", "scale", "gap", "word"),
    [
        (torch.zeros(N, D), torch.ones(N, D), None, "collapsed"),
        (torch.full((N, D), 4.0), torch.ones(N, D), None, "off-prior collapse"),
        (torch.zeros(N, D), torch.full((N, D), 0.05), None, "off-prior collapse"),
        (0.8 * NOISE, torch.full((N, D), 0.6), None, "healthy"),
        (0.8 * NOISE, torch.full((N, D), 0.6), 3.0, "healthy"),
        (0.8 * NOISE, torch.full((N, D), 0.6), 0.0, "decoder ignores z"),
        (0.8 * NOISE + 5, torch.full((N, D), 0.6), 3.0, "prior hole"),
        (
            NOISE * torch.tensor([0.8, 0.8, 0.0, 0.0]),
            torch.tensor([0.6, 0.6, 1.0, 1.0]).expand(N, D),
            3.0,
            "partial collapse",
        ),
    ],
)
def test_known_posteriors_get_their_word(mean, scale, gap, word):
    found = judged(mean, scale, gap)
    assert found.word == word
    assert len(found.reasons) >= 3


def test_latents_that_look_active_and_carry_nothing_are_not_healthy():
    found = judged(0.3 * NOISE, torch.full((N, D), 0.9539), 3.0)
    assert found.word == "partial collapse"
    assert "0 of 4 latents carry" in found.reasons[2]
    assert "4 have a variance of means" in found.reasons[2]
