"""What the metrics and the diagnosis make of every likelihood."""

import pytest
import torch

from uncollapse import diagnose, preflight
from uncollapse.nets import build_vae

WIDTH = 8
COUNTED = ("negative-binomial", {"negative-binomial": "exp"}, "multinomial")
SETTINGS = ("gaussian-shared", "gaussian-learned", "discretised-logistic", *COUNTED)
WORDS = {"collapsed", "partial collapse", "healthy", "prior hole", "decoder ignores z", "off-prior collapse"}


def examined(setting, x):
    torch.manual_seed(0)
    small = {"name": "mlp", "hidden": [8]}
    return diagnose(build_vae(small, small, (x.shape[1],), 3, setting), x)


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_a_model_with_it_is_diagnosed(setting):
    x = torch.rand(100, WIDTH, generator=torch.Generator().manual_seed(0))
    x = (x * 6).round() if setting in COUNTED else (x * 255).round() / 255
    report = examined(setting, x)
    assert report.verdict.word in WORDS
    broken = [one for one in report.tests if "could not be run" in one.sentence]
    assert not broken, broken
    assert "autoregressive decoder" not in [one.cause for one in report.causes]


def test_counts_are_not_taken_for_bytes_that_were_forgotten_to_scale():
    x = torch.randint(0, 200, (60, 20), generator=torch.Generator().manual_seed(0)).float()
    assert not any("divide them by 255" in remark for remark in examined("multinomial", x).remarks)
    assert any("divide them by 255" in remark for remark in examined("gaussian", x).remarks)


def test_a_text_model_is_diagnosed():
    torch.manual_seed(0)
    small = {"name": "lstm", "embedding": 6, "hidden": 8}
    model = build_vae(small, small, (5,), 3, {"tokens": 9})
    x = torch.randint(3, 9, (80, 5))
    x[:40, 2], x[:40, 3:] = 2, 0
    report = diagnose(model, x)
    assert report.verdict.word in WORDS
    assert not [one for one in report.tests if "could not be run" in one.sentence]
    found = {one.cause: one for one in report.tests}
    assert "sees earlier parts of x" in found["autoregressive decoder"].sentence


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_preflight_takes_it_and_asks_no_rule_of_a_noise_that_is_still_to_be_learned(setting):
    x = torch.rand(60, WIDTH, generator=torch.Generator().manual_seed(0))
    x = (x * 6).round() if setting in COUNTED else (x * 255).round() / 255
    torch.manual_seed(0)
    small = {"name": "mlp", "hidden": [8]}
    model = build_vae(small, small, (WIDTH,), 3, setting)
    report = preflight(model, x)
    assert report.spectrum is None
    assert f"All {len(list(model.parameters()))} weights of both sides" in str(report)
