"""Training of a linear VAE finds the closed form, and the protocol says so in plain numbers."""

import json

import pytest
import torch

from uncollapse.errors import BadInput
from uncollapse.protocols.exact import linear, phase_diagram
from uncollapse.testing import LinearVAE
from uncollapse.testing.linear import optimum


@pytest.fixture(scope="module")
def found():
    tiny = phase_diagram.Plan(3, 1, 12, (4.0,), 8)
    told = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(phase_diagram.SCALES, "small", tiny)
        return phase_diagram.compute("small", told.append), told


def test_three_digits(found):
    values = found[0]["quantities"]
    for name in ("kl", "variance", "mean_variance", "dang_decoder", "dang_encoder", "dang_posterior"):
        assert values[f"worst_{name}"] < 5e-4, name
    assert values["wrong_active"] == 0
    assert values["kl_at_top"] < 5e-4
    assert values["worst_spike"] < 0.02


def test_rows_hold_the_eigenvalues_themselves_and_every_beta(found):
    rows = [row for row in found[0]["rows"] if "beta_noise" in row]
    assert {row["beta_noise"] for row in rows} >= set(phase_diagram.EIGENVALUES)
    assert {row["beta"] for row in rows} == set(phase_diagram.BETAS)
    at_top = next(row for row in rows if row["beta_noise"] == 4.0)
    assert at_top["active"] == at_top["active_closed"] == 0
    assert sorted({row["active"] for row in rows}) == [0, 1, 2, 3]
    assert len({row["arm"] for row in found[0]["rows"]}) == len(found[0]["rows"])


def test_plain_numbers_and_lines(found):
    json.dumps(found[0], allow_nan=False)
    panels = found[0]["figure"]["panels"]
    assert [len(panel["series"]) for panel in panels] == [6, 6, 4]
    assert len(panels[0]["series"][0]["points"]) == 8
    assert len(found[1]) == 3


def test_the_loss_is_the_expected_bound():
    torch.manual_seed(0)
    covariance = torch.tensor([[2.0, 0.3, 0.0], [0.3, 1.0, 0.2], [0.0, 0.2, 0.5]], dtype=torch.float64)
    decoder, encoder = torch.randn(3, 2, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    log_variance, noise, beta, prior = torch.tensor([-1.0, 0.3], dtype=torch.float64), 0.7, 1.5, 2.0
    x = torch.randn(400_000, 3, dtype=torch.float64) @ torch.linalg.cholesky(covariance).T
    mean = x @ encoder.T
    z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
    error = (x - z @ decoder.T).square().sum(1) / (2 * noise)
    kl = 0.5 * ((mean.square() + log_variance.exp()) / prior - 1 - log_variance + torch.tensor(prior).log()).sum(1)
    each = error + beta * kl
    exact = linear.loss(decoder, encoder, log_variance, covariance, noise, beta, prior)
    assert float(exact) == pytest.approx(float(each.mean()), abs=5 * float(each.std()) / 400_000**0.5)


def test_training_reaches_the_loss_of_the_closed_form():
    values = torch.tensor([3.0, 1.5, 0.4], dtype=torch.float64)
    one = linear.fitted(values.diag(), 2, noise=0.5, beta=2.0, seed=3)
    best = LinearVAE.optimal(values.diag(), 2, 0.5, beta=2.0)
    variance = best.covariance.diagonal().log()
    closed = linear.loss(best.weight, best.gain, variance, values.diag(), 0.5, 2.0, 1.0)
    assert one.loss == pytest.approx(float(closed), abs=1e-9)
    torch.testing.assert_close(one.kl, optimum(values, 2, 0.5, 2.0).kl, atol=1e-6, rtol=0)


def test_limits_of_the_spike():
    assert phase_diagram.predicted(1e9) == pytest.approx(phase_diagram.RHO + phase_diagram.ETA)
    assert phase_diagram.predicted(0.25) == pytest.approx(0.5 * 9)


def test_unknown_scale():
    with pytest.raises(BadInput, match="small, paper"):
        phase_diagram.compute("large")
