"""The form for accelerators, run on the processor, against the processor's own form and a direct evaluation."""

import math

import pytest
import torch
from torch.distributions import Normal

from uncollapse import Codes
from uncollapse.errors import BadInput
from uncollapse.metrics import accelerated, mutual_information
from uncollapse.metrics.accelerated import log_ratios_on

CPU = torch.device("cpu")


def table(n, latent, scale):
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(n, latent, generator=generator) + 3
    return Codes.from_gaussian(mean, scale * (0.3 * torch.randn(n, latent, generator=generator)).exp())


@pytest.mark.parametrize("scale", [1.0, 1e-2, 1e-4])
def test_equals_a_direct_evaluation(monkeypatch, scale):
    monkeypatch.setattr(accelerated, "COLUMNS", 37)  # several blocks, the last one short
    codes = table(100, 5, scale)
    mean, deviation, z = codes.gaussian("test")
    logs = Normal(mean, deviation).log_prob(z[:, None]).sum(2)
    expected = logs.diagonal() - logs.logsumexp(1)
    found = log_ratios_on(CPU, codes.mean, codes.scale, z, torch.arange(100), chunk=30)
    assert (found - expected).abs().max() < 1e-6


def test_the_bracket_is_the_processors():
    codes = table(3000, 8, 0.5)
    ours, theirs = mutual_information(codes, device="cpu"), mutual_information(codes)
    assert math.isclose(ours.lower, theirs.lower, abs_tol=1e-5)
    assert ours.upper == theirs.upper
    some = mutual_information(codes, queries=500, device="cpu")
    assert math.isclose(some.lower, mutual_information(codes, queries=500).lower, abs_tol=1e-5)


def test_equal_posteriors_hold_nothing():
    codes = Codes.from_gaussian(torch.full((500, 16), 4.0), torch.ones(500, 16))
    assert abs(mutual_information(codes, device="cpu").lower) < 1e-9


def test_auto_falls_back_to_the_processor():
    if not torch.cuda.is_available():
        assert accelerated.accelerator("auto") is None


@pytest.mark.parametrize("device", ["cuda:99", "toaster", 3.5])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(BadInput, match="device should be"):
        mutual_information(table(20, 2, 1.0), device=device)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
def test_on_an_accelerator():
    codes = table(3000, 8, 1e-3)
    assert math.isclose(mutual_information(codes, device="cuda").lower, mutual_information(codes).lower, abs_tol=1e-4)
