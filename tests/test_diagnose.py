import copy
import json
import math

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import uncollapse
from uncollapse import VAE, Codes, diagnose
from uncollapse.distributions import FixedGaussian
from uncollapse.errors import BadInput, UncollapseError
from uncollapse.metrics import mutual_information
from uncollapse.testing.linear import LinearVAE
from uncollapse.testing.metric import cluster_codes, collapsed_codes, constant_codes, gaussian_codes


def healthy(seed=0):
    weight = torch.randn(16, 3, generator=torch.Generator().manual_seed(seed))
    return LinearVAE(weight, noise=0.3, posterior="diagonal")


def collapsed():
    return LinearVAE(torch.zeros(16, 3), noise=1.0, posterior="diagonal")


X = healthy().simulate(1500)


def test_a_healthy_model_has_no_cause_and_no_advice():
    report = diagnose(healthy(), X)
    assert report.verdict.word == "healthy"
    assert report.causes == []
    assert report.advice == []
    assert report.remarks == []
    assert all(row.word == "carries" for row in report.latents)


def test_the_numbers_are_those_of_the_metrics():
    model = healthy()
    report, bracket = diagnose(model, X), mutual_information(Codes.of(model, X))
    assert report.evidence.bracket == bracket
    assert report.to_dict()["metrics"]["mi_lower"]["value"] == pytest.approx(float(bracket.lower))
    assert bracket.lower < model.information() + 0.1


def test_a_collapsed_model_has_a_cause_and_advice():
    report = diagnose(collapsed(), X)
    assert report.verdict.word == "collapsed"
    assert report.causes[0].cause == "dead encoder head"
    assert report.advice[0].code


@pytest.mark.parametrize(
    ("codes", "word"),
    [
        (collapsed_codes(), "collapsed"),
        (constant_codes(), "off-prior collapse"),
        (gaussian_codes(3.0), "healthy"),
        (cluster_codes(), "prior hole"),
    ],
    ids=["collapsed", "constant", "gaussian", "clusters"],
)
def test_codes_alone(codes, word):
    report = diagnose(codes)
    assert report.verdict.word == word
    assert "Only codes" in report.remarks[0]
    assert {one.cause for one in report.tests if one.state == "untested"} >= {"inference lag", "decoder ignores z"}
    assert report.to_dict()["images"] is None


def test_everything_is_plain_and_finite():
    for report in (diagnose(healthy(), X), diagnose(collapsed(), X[:1]), diagnose(gaussian_codes(2.0))):
        json.dumps(report.to_dict(), allow_nan=False)


def test_every_cause_is_tested_once():
    report = diagnose(healthy(), X)
    assert sorted(one.cause for one in report.tests) == sorted(uncollapse.diagnosis.CAUSES)
    failed = [one.sentence for one in report.tests if "could not be run" in one.sentence]
    assert failed == []


def test_the_model_is_left_as_it_was():
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 6))
    model = VAE(encoder, nn.Linear(3, 16), latent=3, read_x=FixedGaussian(0.5)).train()
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    report = diagnose(model, X[:200], loss=lambda m, x: -m(x).elbo.mean())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert torch.equal(random, torch.get_rng_state())
    assert any("training mode" in remark for remark in report.remarks)


def test_the_same_seed_gives_the_same_answer_and_another_nearly():
    one, two, three = (diagnose(healthy(), X, seed=seed).to_dict() for seed in (0, 0, 1))
    drop = {"seconds"}
    assert {k: v for k, v in one.items() if k not in drop} == {k: v for k, v in two.items() if k not in drop}
    assert three["verdict"]["word"] == one["verdict"]["word"]
    assert three["metrics"]["mi_lower"]["value"] != one["metrics"]["mi_lower"]["value"]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_examples_get_an_answer(count):
    report = diagnose(healthy(), X[:count])
    assert "too few examples" in {one.cause for one in report.causes}
    assert str(report)


def test_one_example_is_undetermined():
    assert diagnose(healthy(), X[:1]).verdict.word == "undetermined"


def test_nan_inputs_are_set_aside_and_named():
    broken = X.clone()
    broken[:7] = math.nan
    report = diagnose(healthy(), broken)
    assert report.causes[0].cause == "non-finite posteriors"
    assert report.verdict.word == "healthy"
    assert report.to_dict()["data"]["dropped"] == 7


def test_only_nan_is_undetermined():
    assert diagnose(healthy(), torch.full((20, 16), math.nan)).verdict.word == "undetermined"


def test_a_loader_with_labels_gives_classes():
    loader = DataLoader(TensorDataset(X, torch.arange(len(X)) % 4), batch_size=100)
    report = diagnose(healthy(), loader)
    assert [row.label for row in report.classes] == ["0", "1", "2", "3"]
    assert all(row.word == "carries" for row in report.classes)


def test_words_as_labels():
    report = diagnose(healthy(), X, ["a" if i % 2 else "b" for i in range(len(X))])
    assert [row.label for row in report.classes] == ["a", "b"]
    assert set(report.to_dict()["local"]["label"]) == {"a", "b"}


def test_half_precision_is_remarked_on():
    torch.manual_seed(0)
    model = VAE(nn.Linear(16, 6), nn.Linear(3, 16), latent=3, read_x=FixedGaussian(0.5)).to(torch.bfloat16)
    report = diagnose(model, X[:200])
    assert any("bfloat16" in remark for remark in report.remarks)


def test_only_an_encoder_is_enough_for_a_verdict():
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(16, 6)

        def encode(self, x):
            mean, log_variance = self.net(x).chunk(2, 1)
            return mean, log_variance

    torch.manual_seed(0)
    report = diagnose(Encoder(), X[:300])
    assert report.verdict.word in ("healthy", "partial collapse", "prior hole")
    assert not report.to_dict()["model"]["decodes"]


def test_the_full_budget_adds_a_likelihood_bound():
    report = diagnose(healthy(), X[:200], budget="full")
    exact = -float(healthy().log_evidence(X[:200]).mean())
    assert report.to_dict()["metrics"]["nll"]["value"] == pytest.approx(exact, abs=0.1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((healthy(),), "data"),
        ((healthy(), X[:0]), "at least"),
        ((healthy(), X, [1, 2]), "one label"),
        ((healthy(), [{"left": X, "right": X}]), "under one of"),
    ],
    ids=["no data", "empty", "labels", "dictionary"],
)
def test_what_cannot_be_diagnosed_is_said_in_one_sentence(arguments, said):
    with pytest.raises(UncollapseError, match=said):
        diagnose(*arguments)


def test_an_unknown_budget_is_refused():
    with pytest.raises(BadInput, match="quick"):
        diagnose(healthy(), X, budget="huge")


def test_pages_cards_and_text(tmp_path):
    report = diagnose(healthy(), X, torch.arange(len(X)) % 3, name="<script>alert(1)</script>")
    page = report.to_html(tmp_path / "page.html").read_text()
    assert "has not collapsed" in page
    assert "<script>alert(1)" not in page
    assert len(page) < 3e6
    assert "has not collapsed" in str(report)
    assert "has not collapsed" in report.to_card()
    assert repr(report) == "Diagnosis(healthy; causes: none found)"


def test_progress_is_told():
    told = []
    diagnose(healthy(), X[:100], progress=lambda step, total, record: told.append((step, total, record["doing"])))
    assert told[0] == (1, told[0][1], "encoding the data")
    assert [step for step, _, _ in told] == list(range(1, told[0][1] + 1))  # the bar ends where it should
    assert {doing for _, _, doing in told} >= {"inference lag", "map of the codes"}
