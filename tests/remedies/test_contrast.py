import math

import pytest
import torch
import torch.nn.functional as F

from uncollapse.errors import BadInput
from uncollapse.remedies.contrast import Cosine, contrast


def test_directions_by_loops():
    torch.manual_seed(0)
    s = torch.randn(5, 5, dtype=torch.float64)
    over_x = [-math.log(math.exp(s[i, i]) / sum(math.exp(s[i, j]) for j in range(5))) for i in range(5)]
    over_z = [-math.log(math.exp(s[i, i]) / sum(math.exp(s[j, i]) for j in range(5))) for i in range(5)]
    assert contrast(s, "x").tolist() == pytest.approx(over_x)
    assert contrast(s, "z").tolist() == pytest.approx(over_z)
    assert contrast(s, "both").tolist() == pytest.approx([(a + b) / 2 for a, b in zip(over_x, over_z, strict=True)])


def test_cosine_by_loops():
    torch.manual_seed(0)
    g, h = torch.randn(3, 4, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    scores = Cosine(0.5)(g, h)
    for i in range(3):
        for j in range(3):
            assert scores[i, j].item() == pytest.approx(2 * F.cosine_similarity(g[i], h[j], 0).item())


def test_scales():
    assert Cosine(0.07).kappa() == pytest.approx(14.2857, abs=1e-4)
    assert list(Cosine(0.07).parameters()) == []
    assert Cosine(0.07, learn=True).kappa().item() == pytest.approx(14.2857, abs=1e-4)
    assert Cosine("raw").kappa().item() == pytest.approx(2.659, abs=1e-3)
    assert [p.requires_grad for p in Cosine("raw").parameters()] == [True]


@pytest.mark.parametrize(("batch", "value"), [(50, 2.47), (64, 2.51)])
def test_ceiling_of_a_weak_scale_is_the_published_one(batch, value):
    assert Cosine(1 / 2.659).ceiling(batch) == pytest.approx(value, abs=0.006)


@pytest.mark.parametrize("batch", [2, 3, 16])
def test_ceiling_is_reached_by_a_simplex_and_not_passed(batch):
    score = Cosine(0.8)
    simplex = torch.eye(batch, dtype=torch.float64) - 1 / batch
    reached = math.log(batch) - contrast(score(simplex, simplex), "both").mean()
    assert reached.item() == pytest.approx(score.ceiling(batch), abs=1e-9)
    torch.manual_seed(0)
    g = torch.randn(batch, 8, dtype=torch.float64).requires_grad_()
    h = torch.randn(batch, 8, dtype=torch.float64).requires_grad_()
    optimiser = torch.optim.Adam([g, h], lr=0.1)
    for _ in range(100):
        loss = contrast(score(g, h), "x").mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        assert math.log(batch) - loss.item() <= score.ceiling(batch) + 1e-9


def test_ceiling_of_a_trained_scale_is_log_b():
    assert Cosine("raw").ceiling(50) == Cosine(1.0, learn=True).ceiling(50) == math.log(50)
    assert Cosine(1.0).ceiling(1) == 0


@torch.no_grad()
def test_trained_scale_is_capped():
    score = Cosine(0.07, learn=True)
    score.log_scale.fill_(50.0)
    score.limit()
    assert score.kappa().item() == pytest.approx(100.0, rel=1e-5)


def test_scores_stay_exact_under_autocast():
    torch.manual_seed(0)
    g, h = torch.randn(8, 16), torch.randn(8, 16)
    with torch.autocast("cpu", torch.bfloat16):
        scores = Cosine()(g, h)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, Cosine()(g, h))


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan, "warm", True, None])
def test_bad_temperature_is_refused(temperature):
    with pytest.raises(BadInput):
        Cosine(temperature)
