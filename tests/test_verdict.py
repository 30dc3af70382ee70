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


def test_clusters_that_match_the_moments_of_the_prior_are_a_prior_hole():
    """The moment-matched Gaussian is the prior itself here; the mismatch shows latent by latent."""
    centres = torch.randn(10, D, generator=torch.Generator().manual_seed(1))
    centres = (centres - centres.mean(0)) / centres.std(0, unbiased=False)
    found = judged(centres.repeat(N // 10, 1), torch.full((N, D), 0.02), 3.0)
    assert found.word == "prior hole"


@pytest.mark.parametrize("n", [100, 360, 1000])
def test_the_word_does_not_depend_on_the_ceiling(n):
    """19 nats in 16 latents and a little off the prior: log N caps the lower bound, not the judgement."""
    noise = torch.randn(n, 16, generator=torch.Generator().manual_seed(2))
    assert judged(noise, torch.full((n, 16), 0.31), 3.0).word == "healthy"


def test_too_few_examples_are_said_to_be_too_few():
    words = {
        judged(0.8 * torch.randn(6, D, generator=torch.Generator().manual_seed(seed)), torch.full((6, D), 0.6)).word
        for seed in range(20)
    }
    assert "collapsed" not in words
    assert "off-prior collapse" not in words
    assert "undetermined" in words


def test_an_uncertain_or_missing_gap_condemns_nobody():
    codes = Codes.from_gaussian(0.8 * NOISE, torch.full((N, D), 0.6))
    numbers = kl(codes), mutual_information(codes), active_units(codes)
    assert verdict(*numbers, Estimate(40.0, se=21.0)).word == "healthy"
    assert verdict(*numbers, Estimate(float("nan"))).word == "healthy"


def test_latents_that_repeat_each_other_are_told():
    one = 0.8 * NOISE[:, :1].expand(N, D)
    found = judged(one, torch.full((N, D), 0.6), 3.0)
    assert any("repeat each other" in reason for reason in found.reasons)


def test_an_almost_deterministic_code_is_no_collapse():
    found = judged(NOISE, torch.full((N, D), 1e-10), 3.0)
    assert found.word in {"healthy", "prior hole"}
