import pytest
import torch
from torch.distributions import Normal

from uncollapse.distributions import FixedGaussian, bernoulli, check_observed
from uncollapse.errors import BadInput, ShapeError
from uncollapse.likelihoods import (
    DiscretisedLogistic,
    Multinomial,
    NegativeBinomial,
    SharedGaussian,
    read_likelihood,
    tokens,
)
from uncollapse.likelihoods.setting import vocabulary_of


def test_names():
    assert read_likelihood("bernoulli") is bernoulli
    assert read_likelihood({"gaussian": 2}).scale == 2.0
    assert isinstance(read_likelihood("gaussian"), FixedGaussian)
    assert read_likelihood({"gaussian-shared": 0.3}).scale.item() == pytest.approx(0.3)
    assert read_likelihood("discretised-logistic").planes == 2
    assert read_likelihood({"discretised-logistic": "shared"}).planes == 1
    assert read_likelihood({"tokens": 10}) is tokens
    assert vocabulary_of({"tokens": 10}) == 10
    assert vocabulary_of("bernoulli") is None
    assert read_likelihood({"negative-binomial": "exp"}, (7,)).given_mean == "exp"
    assert isinstance(read_likelihood("multinomial", (7,)), Multinomial)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("gausian-shared", "did you mean 'gaussian-shared'"),
        ({"gaussian-shared": -1.0}, "positive"),
        ({"gaussian-learned": "thin"}, "standard deviation"),
        ({"multinomial": 3}, "no setting"),
        ({"negative-binomial": "softmax"}, "share, exp"),
        ({"discretised-logistic": 3}, "learned"),
        ({"gaussian": None}, "alone"),
        ({"gaussian": 1.0, "bernoulli": 1.0}, "unknown likelihood"),
        (7, "unknown likelihood"),
    ],
)
def test_mistakes_are_one_sentence(setting, words):
    with pytest.raises(BadInput, match=words):
        read_likelihood(setting, (4,))


@pytest.mark.parametrize("size", [3, "many", None, True, 2.5])
def test_vocabularies_that_are_none(size):
    with pytest.raises(BadInput):
        vocabulary_of({"tokens": size})
    with pytest.raises(BadInput, match="size of the vocabulary"):
        vocabulary_of("tokens")


def test_counts_are_vectors():
    with pytest.raises(BadInput, match="vectors"):
        read_likelihood("negative-binomial", (1, 8, 8))


def test_tokens_pass_distributions_on_and_refuse_tensors():
    given = Normal(0, 1)
    assert tokens(given) is given
    with pytest.raises(ShapeError, match="Sentences"):
        tokens(torch.zeros(2, 3))


def test_every_reader_passes_distributions_on():
    given = Normal(0, 1)
    for reader in (SharedGaussian(), DiscretisedLogistic(), NegativeBinomial(2), Multinomial()):
        assert reader(given) is given


def test_observations_without_probability_are_refused():
    with pytest.raises(BadInput, match="levels between 0 and 1"):
        check_observed(DiscretisedLogistic()(torch.zeros(1, 2)), 0, 255)
    with pytest.raises(BadInput, match="whole numbers"):
        check_observed(Multinomial()(torch.zeros(1, 2)), -1, 3)
