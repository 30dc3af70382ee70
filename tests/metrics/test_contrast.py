import math

import pytest
import torch

from uncollapse.errors import BadInput, ShapeError
from uncollapse.functional import pairwise_log_prob
from uncollapse.metrics import infonce_bound, mutual_information
from uncollapse.testing.metric import gaussian_codes


def test_equals_the_loop():
    scores = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    each = [float(scores[i, i].exp() / scores[i].exp().sum()) for i in range(5)]
    assert infonce_bound(scores) == pytest.approx(math.log(7) + sum(map(math.log, each)) / 5, abs=1e-6)


def test_an_ignorant_scorer_certifies_nothing():
    bound = infonce_bound(torch.full((6, 6), 3.0))
    assert bound == pytest.approx(0, abs=1e-12)
    assert bound.ceiling == pytest.approx(math.log(6))
    assert bound.flags == ()


def test_a_perfect_scorer_saturates():
    bound = infonce_bound(1e4 * torch.eye(6))
    assert bound <= bound.ceiling
    assert bound == pytest.approx(math.log(6))
    assert bound.flags == ("saturated",)


def test_lies_below_the_brackets_upper_bound():
    codes = gaussian_codes(2.0, 500)
    optimal = infonce_bound(pairwise_log_prob(codes.sample, codes.mean, codes.scale))
    cosine = infonce_bound(
        10 * torch.nn.functional.normalize(codes.sample) @ torch.nn.functional.normalize(codes.mean).T
    )
    upper = mutual_information(codes).upper
    assert 0 < cosine < optimal < upper + 3 * upper.se


@pytest.mark.parametrize("scores", [torch.full((3, 3), math.nan), torch.empty(0, 4)])
def test_unusable_scores(scores):
    with pytest.raises(BadInput):
        infonce_bound(scores)


def test_fewer_candidates_than_queries():
    with pytest.raises(ShapeError):
        infonce_bound(torch.zeros(4, 3))
