"""Noise of both critics: bounds that hold, derivatives that are right, rows that are complete."""

import json
import math

import pytest
import torch

from uncollapse.protocols.exact import critic_variance as critics
from uncollapse.remedies.contrast import logistic


@pytest.fixture(scope="module")
def found():
    plan = critics.Plan(16, (2, 4, 16), 1500, (1.0, 4.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(critics.SCALES, "small", plan)
        return critics.compute("small")


def test_bounds_hold(found):
    for row in found["rows"]:
        error = 4 * row["bound_std"] / math.sqrt(1500)
        cap = math.log(row["candidates"]) if row["critic"] == "multi-sample" else 2 * math.log(2)
        assert row["bound"] <= min(row["information"], cap) + error
        assert row["bound"] > 0.1


def test_costs_are_what_they_say(found):
    by = {row["arm"]: row for row in found["rows"]}
    for k in (2, 4, 16):
        multi, examples, scores = (by[f"4 nats, K = {k}, {name}"] for name in
                                   ("multi-sample", "binary, equal examples", "binary, equal scores"))  # fmt: skip
        assert multi["examples"] == examples["examples"] == 16
        assert multi["scores"] == scores["scores"] == 16 * k
        assert examples["scores"] == 32
    assert len(by) == len(found["rows"]) == 18
    json.dumps(found, allow_nan=False)


def test_more_examples_less_noise(found):
    by = {row["arm"]: row for row in found["rows"]}
    few, many = by["1 nats, K = 2, binary, equal scores"], by["1 nats, K = 16, binary, equal scores"]
    assert few["gradient_std"] / many["gradient_std"] == pytest.approx(math.sqrt(8), rel=0.15)
    assert few["gradient"] == pytest.approx(many["gradient"], abs=4 * few["standard_error"])


def test_information_is_that_of_the_setting():
    gain, noise = 1.0, 1 / math.expm1(2 * 3.0 / critics.LATENT)
    assert critics.information(gain, noise) == pytest.approx(3.0)


def test_losses_are_those_of_the_remedies():
    torch.manual_seed(0)
    x, a = torch.randn(1, 6, 4, dtype=torch.float64), torch.full((1, 1, 1), 0.8, dtype=torch.float64)
    z = a * x + 0.5 * torch.randn(1, 6, 4, dtype=torch.float64)
    scores = torch.distributions.Normal(0.8 * x, 0.5).log_prob(z.transpose(0, 1)).sum(-1)  # row i: z_i against all x_j
    multi = critics.multi(x, z, a, 0.25, 6)
    slow = math.log(6) + torch.stack([scores[i, i] - scores[i].logsumexp(0) for i in range(6)]).mean()
    assert float(multi) == pytest.approx(float(slow))
    ratios = scores - torch.distributions.Normal(0.0, (0.64 + 0.25) ** 0.5).log_prob(z[0]).sum(-1)[:, None]
    pairs = [torch.stack([ratios[i, i], ratios[i, (i + 1) % 6]]) for i in range(6)]
    slow = 2 * math.log(2) - torch.stack([logistic(torch.stack([p, p.flip(0)]))[0] for p in pairs]).mean()
    assert float(critics.binary(x, z, a, 0.25)) == pytest.approx(float(slow))


def test_derivative_is_that_of_the_mean_bound():
    """By the difference of two long runs with the same numbers."""
    step = 1e-3
    ends = [critics.moments(1.0 + sign * step, 0.5, 8, 4, 4000)["bound"] for sign in (1, -1)]
    assert critics.moments(1.0, 0.5, 8, 4, 4000)["gradient"] == pytest.approx(
        (ends[0] - ends[1]) / (2 * step), rel=1e-4
    )
