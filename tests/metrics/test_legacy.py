import math

import pytest
import torch

from uncollapse import Codes
from uncollapse.errors import BadInput
from uncollapse.metrics import active_units, legacy, mutual_information
from uncollapse.testing.metric import collapsed_codes, gaussian_codes


@pytest.mark.parametrize(
    ("batch", "expected"),
    [(32, (2.40, 3.18, 3.61)), (50, (2.58, 3.77, 3.88)), (64, (2.55, 3.96, 4.08)), (256, (2.93, 5.10, 5.51))],
)
def test_per_batch_information_of_papers(batch, expected):
    """Columns of papers.md 7.2: one batch each, whose own spread is about 0.3 at B = 32."""
    for exact, value in zip((3.2, 8.0, 32.0), expected, strict=True):
        codes = gaussian_codes(exact, 5120, 32)
        found = legacy.batch_mutual_information(codes, batch)
        assert found == pytest.approx(value, abs=0.4)
        assert found < math.log(batch) + 0.1
    assert f"{math.log(batch):.2f}" in found.flags[0]


def test_per_batch_information_in_one_batch():
    codes = gaussian_codes(3.0, 200)
    sampled = mutual_information(codes).lower
    entropy = codes.scale.log().sum(1) + 4 + 4 * math.log(2 * math.pi)
    own = torch.distributions.Normal(codes.mean, codes.scale).log_prob(codes.sample).sum(1)
    expected = sampled + float((-entropy - own).mean())  # the analytic first term in place of the sampled one
    assert legacy.batch_mutual_information(codes, 200) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("latent", [2, 16])
def test_diagonal_information_reports_collapse_as_knowledge(latent):
    wrong = latent / 2 * (1 - math.log(2))
    nothing, known = collapsed_codes(25600, latent), gaussian_codes(float(latent), 25600, latent)
    assert legacy.diagonal_mutual_information(nothing) == pytest.approx(wrong, abs=0.1)
    assert legacy.diagonal_mutual_information(known) == pytest.approx(wrong, abs=0.1)


def test_sampled_units_count_everything():
    codes = collapsed_codes()
    assert legacy.sampled_units(codes) == 8
    assert active_units(codes) == 0


def test_batch_fraction():
    x = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
    codes = Codes.from_gaussian(x * torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.ones(100, 4))
    assert legacy.batch_fraction(codes) == 0.5
    with pytest.raises(BadInput, match="two examples"):
        legacy.batch_fraction(codes, batch=1)


def test_latent_space_rewards_collapse():
    found = legacy.latent_density_coverage(collapsed_codes(1000, 4, 0), collapsed_codes(1000, 4, 1))
    assert found.density == pytest.approx(1, abs=0.1)
    assert found.coverage > 0.93
    assert found.features == "the model's own latents"
    assert all("rewards collapse" in estimate.flags[0] for estimate in found)


@pytest.mark.parametrize("batch", [0, 1.5, True])
def test_bad_batch(batch):
    with pytest.raises(BadInput):
        legacy.batch_mutual_information(collapsed_codes(), batch)
