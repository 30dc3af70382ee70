import math

import pytest
import torch
import torch.nn.functional as F

from uncollapse.errors import BadInput
from uncollapse.remedies.contrast import Cosine, contrast, log_ratio, logistic


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


def correlated(n, rho=0.8):
    """Pairs of standard normals with correlation rho, as codes and inputs, and the exact log ratio of all n x n."""
    torch.manual_seed(0)
    x = torch.randn(n, dtype=torch.float64)
    z = rho * x + (1 - rho**2) ** 0.5 * torch.randn(n, dtype=torch.float64)
    gap = rho**2 * (x.square()[None, :] + z.square()[:, None]) - 2 * rho * z[:, None] * x[None, :]
    return -0.5 * math.log(1 - rho**2) - gap / (2 * (1 - rho**2))


def jensen_shannon(rho=0.8):
    """JS divergence of the joint from the product, by a sum over a grid, nats."""
    axis = torch.linspace(-7, 7, 1401, dtype=torch.float64)
    x, z = torch.meshgrid(axis, axis, indexing="ij")
    product = (-0.5 * (x.square() + z.square())).exp() / (2 * math.pi)
    log_r = -0.5 * math.log(1 - rho**2) - (rho**2 * (x.square() + z.square()) - 2 * rho * x * z) / (2 * (1 - rho**2))
    joint = product * log_r.exp()
    mean = (joint + product) / 2
    entropies = sum(torch.special.xlogy(p, p / mean).sum() / 2 for p in (joint, product))
    return float(entropies) * 0.01**2


def test_logistic_by_loops():
    torch.manual_seed(0)
    s = torch.randn(4, 6, dtype=torch.float64)
    for i, got in enumerate(logistic(s).tolist()):
        wrong = [math.log(1 + math.exp(s[i, j])) for j in range(6) if j != i]
        assert got == pytest.approx(math.log(1 + math.exp(-s[i, i])) + sum(wrong) / 5)


def test_logistic_directions_by_loops():
    torch.manual_seed(0)
    s = torch.randn(5, 5, dtype=torch.float64)
    assert contrast(s, "x", "binary").tolist() == logistic(s).tolist()
    assert contrast(s, "z", "binary").tolist() == pytest.approx(logistic(s.T).tolist())
    assert contrast(s, "both", "binary").tolist() == pytest.approx(((logistic(s) + logistic(s.T)) / 2).tolist())


def test_the_log_ratio_is_the_best_binary_score():
    s = correlated(2000).requires_grad_()
    loss = logistic(s).mean()
    assert loss.item() == pytest.approx(2 * math.log(2) - 2 * jensen_shannon(), abs=0.02)
    slope = torch.autograd.grad(loss, s)[0]
    # no direction of change helps: a shift, a factor, or a bend
    for change in (torch.ones_like(s), s, s.square(), s.sigmoid()):
        assert (slope * change).sum().abs() < 0.01
    for other in (1.3 * s, 0.7 * s, s + 0.3, s - 0.3, s - 0.1 * s.square()):
        assert logistic(other).mean() > loss


def test_binary_estimates_of_information():
    s, information = correlated(2000), -0.5 * math.log(1 - 0.64)
    assert log_ratio(s, "binary").mean().item() == pytest.approx(information, abs=0.05)
    assert log_ratio(s, "multisample").mean().item() == pytest.approx(information, abs=0.05)
    assert 2 * jensen_shannon() < information
    assert 2 * math.log(2) - logistic(s).mean() < information
    # a multisample critic's scores have an offset of their own for every z, which a binary critic's have not
    shifted = s + torch.randn(2000, 1, dtype=torch.float64)
    torch.testing.assert_close(log_ratio(shifted, "multisample"), log_ratio(s, "multisample"))


def test_logistic_at_its_ends():
    assert logistic(torch.zeros(3, 3)).tolist() == pytest.approx([2 * math.log(2)] * 3)
    assert logistic(200.0 * torch.eye(3) - 100).tolist() == pytest.approx([0.0] * 3)
    s = (100 - 200.0 * torch.eye(3)).requires_grad_()  # as wrong as can be: still a slope, and no overflow
    logistic(s).sum().backward()
    assert logistic(s).tolist() == pytest.approx([200.0] * 3)
    assert s.grad.diagonal().tolist() == pytest.approx([-1.0] * 3)
