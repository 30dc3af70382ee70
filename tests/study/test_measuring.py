import math

import pytest
import torch

from uncollapse import VAE, Codes
from uncollapse.data import from_tensors
from uncollapse.data.dataset import DataSet
from uncollapse.data.part import Part
from uncollapse.errors import BadInput
from uncollapse.metrics import density_coverage, legacy, nll
from uncollapse.study import Run
from uncollapse.study.legacy import check, formulas, legacy_values
from uncollapse.study.measuring import likelihoods, measure, reference, watcher
from uncollapse.study.spec import Measure


@pytest.fixture
def toy():
    torch.manual_seed(0)
    data = from_tensors(torch.rand(120, 6).round(), torch.arange(120) % 3)
    return VAE(torch.nn.Linear(6, 4), torch.nn.Linear(2, 6), latent=2), data


def test_legacy_values_are_those_of_the_formulas_on_the_test_codes(toy):
    model, data = toy
    codes = Codes.of(model, data.test, seed=3)
    wanted = {"mi": {"formula": "batch_mutual_information", "batch": 5}, "au": {"formula": "sampled_units"}}
    found = legacy_values(wanted, model, data, codes, 3)
    assert float(found["mi"]) == float(legacy.batch_mutual_information(codes, 5))
    assert float(found["au"]) == 2.0  # samples vary although nothing was learned


def test_latent_density_rewards_collapse(toy):
    _, data = toy
    encoder = torch.nn.Linear(6, 4)
    torch.nn.init.zeros_(encoder.weight), torch.nn.init.zeros_(encoder.bias)
    model = VAE(encoder, torch.nn.Linear(2, 6), latent=2)
    wanted = {"c": {"formula": "latent_coverage", "k": 5}}
    assert legacy_values(wanted, model, data, Codes.of(model, data.test), 0)["c"] > 0.7


def test_wrong_formulas_and_arguments_are_named():
    with pytest.raises(BadInput, match="did you mean batch_mutual_information"):
        check({"mi": {"formula": "batch_mutual_informaton"}})
    with pytest.raises(BadInput, match="no argument 'bach'; did you mean batch"):
        check({"mi": {"formula": "batch_mutual_information", "bach": 3}})
    check({name: {"formula": name} for name in formulas()})


def test_everything_asked_for_is_in_the_result(toy):
    model, data = toy
    asked = Measure(
        nll_samples=3, nll_examples=7, knn=3, local=4, legacy={"au": {"formula": "sampled_units"}}, images=0
    )
    found = measure(Run(fit={"batches": 1}, measure=asked), model, data)
    assert found["metrics"]["nll"]["n"] == 7
    assert {"probe", "knn", "local_smallest", "local_largest", "density"} <= set(found["metrics"])
    assert found["legacy"]["au"]["value"] == 2.0
    weight = model.decoder.weight.detach()
    largest = torch.linalg.svdvals(weight)[0]  # the mean is a sigmoid of it, which stretches by a quarter at most
    assert 0 < found["metrics"]["local_largest"]["value"] <= 0.2501 * largest


def test_the_papers_likelihoods_are_measured_on_as_many_examples_as_ours(toy):
    model, data = toy
    asked = Measure(nll_samples=3, nll_examples=7, images=0, legacy={"theirs": {"formula": "negative_elbo"}})
    found = measure(Run(fit={"batches": 1}, measure=asked), model, data)
    assert len(data.test) > 7
    assert found["legacy"]["theirs"]["n"] == found["metrics"]["nll"]["n"] == 7


def test_the_papers_information_stands_in_the_history(toy):
    model, data = toy
    asked = Measure(legacy={"mi": {"formula": "batch_mutual_information", "batch": 4}})
    row = watcher(data, asked)(model)
    assert row["mi_legacy"] == float(legacy.batch_mutual_information(Codes.of(model, data.valid), 4))
    assert "mi_legacy" not in watcher(data, Measure())(model)


class Unigram(torch.nn.Module):
    """A decoder that gives every token the same chance 1/V, whatever z."""

    def __init__(self, vocabulary, length):
        super().__init__()
        self.vocabulary, self.length = vocabulary, length

    def forward(self, z):
        return Uniform(len(z), self.vocabulary, self.length)


class Uniform(torch.distributions.Distribution):
    arg_constraints = {}  # noqa: RUF012

    def __init__(self, batch, vocabulary, length):
        self.vocabulary = vocabulary
        super().__init__(torch.Size([batch]), torch.Size([length]), validate_args=False)

    @property
    def support(self):
        return torch.distributions.constraints.nonnegative_integer

    def log_prob(self, value):
        return -(value != 0).sum(-1) * math.log(self.vocabulary)


class Ends(torch.nn.Module):
    def forward(self, x):
        return torch.zeros(len(x), 4) * x.float().mean()


def test_perplexity_of_a_uniform_model_is_its_vocabulary():
    rows = torch.tensor([[4, 5, 2, 0], [6, 2, 0, 0], [4, 4, 4, 2]], dtype=torch.uint8)
    part = Part(rows, tokens=True)
    data = DataSet(
        "three", part, part, part, likelihood="tokens", vocabulary=("", "<s>", "</s>", "_UNK", "a", "b", "c")
    )
    assert data.train.take([0]).dtype == torch.int64
    model = VAE(Ends(), Unigram(7, 4), latent=2)
    found = likelihoods(Measure(nll_samples=2), model, data, 0)
    assert float(found["perplexity"]) == pytest.approx(7, rel=1e-6)
    assert float(found["nll"]) == pytest.approx(3 * math.log(7), rel=1e-6)  # 3, 2 and 4 tokens, end marks counted


def test_the_likelihood_of_the_first_examples_is_the_one_of_all_of_them_cut(toy):
    model, data = toy
    data = data.binarised("dynamic")
    whole = nll(model, data.test, samples=4, seed=1)
    assert torch.equal(nll(model, data.test.head(5), samples=4, seed=1).per_example, whole.per_example[:5])


def test_the_reference_has_as_many_examples_as_there_are_samples(toy):
    _, data = toy
    few, many = (reference(data, Measure(k=2, samples=count)) for count in (3, 60))
    assert few["coverage"] < many["coverage"]
    with_all = density_coverage(data.test.tensor(), data.train.tensor()[:3], k=2)
    assert few == {"density": float(with_all.density), "coverage": float(with_all.coverage)}
