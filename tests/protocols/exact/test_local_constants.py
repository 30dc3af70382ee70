"""Local constants on small runs, and on a model where they are known."""

import json
import math

import pytest
import torch

from uncollapse import VAE
from uncollapse.distributions import FixedGaussian
from uncollapse.protocols.exact import local_constants as local
from uncollapse.testing import LinearVAE


@pytest.fixture(scope="module")
def found():
    plan = local.Plan(600, 30, 2, (0.2,), (0.0, 0.5), 60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(local.SCALES, "small", plan)
        return local.compute("small")


def test_rows_and_quantities(found):
    assert [row["arm"] for row in found["rows"]] == [
        "mlp, beta 0.2, alpha 0", "mlp, beta 0.2, alpha 0.5", "flow, beta 0.2, alpha 0", "flow, beta 0.2, alpha 0.5"
    ]  # fmt: skip
    json.dumps(found, allow_nan=False)
    for row in found["rows"]:
        assert row["smallest"] <= row["median_smallest"] <= row["largest"]
        assert row["bi_lipschitz"] <= row["guaranteed"] <= row["epsilon"]
        assert row["share_above_guaranteed"] >= row["share_above_epsilon"]
        assert row["kl_least"] <= row["kl"] <= row["kl_most"]
    flow = [row for row in found["rows"] if row["decoder"] == "flow"]
    assert all(row["smallest"] > 0.01 for row in flow)
    assert found["quantities"]["broken"] == 0
    by = {row["arm"]: row for row in found["rows"]}
    gain = by["flow, beta 0.2, alpha 0.5"]["kl"] / by["flow, beta 0.2, alpha 0"]["kl"]
    assert found["quantities"]["kl_flow_gain"] == pytest.approx(gain)


class Known(VAE):
    """A linear decoder with its best encoder at beta."""

    def __init__(self, weight, beta):
        super().__init__(torch.nn.Linear(2, 4), torch.nn.Linear(2, 2), 2, read_x=FixedGaussian(math.sqrt(local.NOISE)))
        best = LinearVAE(weight, local.NOISE, posterior="diagonal", beta=beta)
        with torch.no_grad():
            self.decoder.weight.copy_(weight)
            self.decoder.bias.zero_()
            self.encoder.weight.copy_(torch.cat([best.gain, torch.zeros(2, 2)]))
            self.encoder.bias.copy_(torch.cat([torch.zeros(2), best.covariance.diagonal().log()]))


def test_a_linear_model_meets_its_guarantee_exactly(monkeypatch):
    monkeypatch.setattr(local, "kl_in_training", lambda model, x: 0.0)
    weight, beta = torch.diag(torch.tensor([2.0, 1.0])), 0.4
    model = Known(weight, beta)
    x = LinearVAE(weight, local.NOISE).simulate(2000)
    parts = torch.arange(2000) % local.COMPONENTS
    one = local.constants(model, x, parts, beta, 500, 0)
    lam = torch.tensor([4.0, 1.0]) / (beta * local.NOISE)
    assert one["smallest"] == pytest.approx(1, abs=1e-4)
    assert one["largest"] == pytest.approx(2, abs=1e-4)
    assert one["epsilon"] == pytest.approx(float(0.5 * lam.log1p().sum()), rel=1e-4)
    assert one["guaranteed"] == pytest.approx(float(0.5 * (lam.log1p() - lam / (1 + lam)).sum()), rel=1e-4)
    assert one["share_above_guaranteed"] == 1.0  # the KL less |mu|²/2 is just that
    assert 0.1 < one["share_above_epsilon"] < 0.9
    assert one["collapsed"] == 0.0


def test_a_lost_direction_guarantees_nothing(monkeypatch):
    monkeypatch.setattr(local, "kl_in_training", lambda model, x: 0.0)
    weight = torch.diag(torch.tensor([2.0, 0.0]))
    x = LinearVAE(weight, local.NOISE).simulate(500)
    one = local.constants(Known(weight, 1.0), x, torch.arange(500) % local.COMPONENTS, 1.0, 100, 0)
    assert one["smallest"] < 1e-4
    assert one["bi_lipschitz"] == pytest.approx(0, abs=1e-6)
    assert one["guaranteed"] > 0.3


def test_mixture_weights_halve():
    x, parts = local.mixture(20000, 42)
    counts = torch.bincount(parts, minlength=local.COMPONENTS).double()
    assert counts[0] / counts[1] == pytest.approx(2, rel=0.1)
    inside = x[parts == 0] - x[parts == 0].mean(0)
    assert float(inside.std()) == pytest.approx(0.1, rel=0.05)
    assert x.min() > -1
    assert x.max() < 17


def test_kl_in_training_moves_nothing():
    model = local.build("mlp", 0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert local.kl_in_training(model, local.mixture(300, 0)[0]) > 0
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_ranks():
    a = torch.tensor([1.0, 2.0, 3.0, 10.0])
    assert local.ranks(a, a.exp()) == pytest.approx(1)
    assert local.ranks(a, -a) == pytest.approx(-1)
    assert local.ranks(a, torch.zeros(4)) == 0
