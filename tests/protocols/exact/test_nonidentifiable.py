"""A latent that the likelihood does not identify keeps its prior, with the exact posterior."""

import json

import pytest
import torch

from uncollapse.protocols.exact import nonidentifiable
from uncollapse.testing import LinearVAE


@pytest.fixture(scope="module")
def found():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(nonidentifiable.SCALES, "small", nonidentifiable.Plan(500, 2))
        return nonidentifiable.compute("small")


def test_the_unused_direction_keeps_its_prior_to_three_digits(found):
    values = found["quantities"]
    assert abs(values["kl_unused"]) < 5e-4
    assert abs(values["largest_kl_unused"]) < 5e-4
    assert abs(values["kl_unused_map"]) < 5e-4
    assert values["deviation_unused"] == pytest.approx(1, abs=5e-4)
    assert values["kl_used"] > 0.5


def test_controls_use_both_directions(found):
    by = {row["arm"]: row for row in found["rows"]}
    assert len(by) == 4
    assert by["two hidden dimensions, largest evidence"]["least_kl_second"] > 0.3
    assert by["one hidden dimension, weights held at full rank"]["least_kl_second"] > 0.3
    json.dumps(found, allow_nan=False)
    assert [len(one["points"]) for one in found["figure"]["panels"][0]["series"]] == [500, 500]


def test_training_finds_the_weights_of_tipping_and_bishop():
    x = nonidentifiable.data(500, 2, seed=4)
    values, vectors = torch.linalg.eigh(x.T @ x / len(x))
    best = vectors[:, -2:] * (values[-2:] - 1).clamp(min=0).sqrt()
    weight = nonidentifiable.trained(x, seed=0)
    torch.testing.assert_close(weight @ weight.T, best @ best.T, atol=1e-6, rtol=0)


def test_posterior_is_the_exact_one():
    x = nonidentifiable.data(50, 1, seed=1)
    weight = torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    one = nonidentifiable.posterior(weight, x)
    model = LinearVAE(weight, noise=1.0)
    exact = torch.distributions.kl_divergence(
        model.posterior(x), torch.distributions.MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
    )
    torch.testing.assert_close(one.kl.sum(1), exact)
    torch.testing.assert_close(one.deviation.square(), torch.linalg.eigvalsh(model.covariance))
