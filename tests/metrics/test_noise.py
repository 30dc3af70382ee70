"""The noise test of a decoder, against a linear model whose loss is a formula."""

import pytest
import torch

from uncollapse.errors import BadInput
from uncollapse.metrics import noise_gap
from uncollapse.testing.linear import LinearVAE

WEIGHT = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("variance", [0.2, 1.0])
def test_linear_decoder_loses_what_the_formula_says(variance):
    model = LinearVAE(WEIGHT, noise=0.5, posterior="diagonal")
    found = noise_gap(model, model.simulate(4000), variance)
    # E |W eps|^2 / (2 noise), noise a variance; the cross term with the residual has mean 0
    expected = variance * WEIGHT.square().sum().item() / (2 * 0.5)
    assert abs(found - expected) < 4 * found.se


def test_no_noise_no_loss_and_a_deaf_decoder_loses_nothing():
    model = LinearVAE(WEIGHT, noise=0.5, posterior="diagonal")
    x = model.simulate(100)
    deaf = LinearVAE(0 * WEIGHT, noise=0.5, posterior="diagonal")
    assert noise_gap(model, x, 0.0) == 0
    assert noise_gap(deaf, x, 1.0) == 0


def test_the_batch_size_changes_nothing():
    model = LinearVAE(WEIGHT, noise=0.5, posterior="diagonal")
    x = model.simulate(100)
    assert noise_gap(model, x, 0.5, batch_size=7) == pytest.approx(noise_gap(model, x, 0.5), rel=1e-6)


@pytest.mark.parametrize("variance", [-0.1, float("inf"), "much", True])
def test_refuses_a_variance_that_is_none(variance):
    model = LinearVAE(WEIGHT, noise=0.5, posterior="diagonal")
    with pytest.raises(BadInput, match="variance"):
        noise_gap(model, torch.zeros(4, 6), variance)
