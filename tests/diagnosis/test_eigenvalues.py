import pytest
import torch
from torch.distributions import Independent, Normal, Poisson

from uncollapse.diagnosis import eigenvalues
from uncollapse.diagnosis.eigenvalues import eigenvalue_rule
from uncollapse.distributions import bernoulli
from uncollapse.errors import BadInput, ShapeError, Unsupported
from uncollapse.testing.linear import optimum


def cloud(variances, n=4000, seed=0):
    noise = torch.randn(n, len(variances), generator=torch.Generator().manual_seed(seed))
    return noise * torch.tensor(variances).sqrt()


def test_it_is_the_closed_form():
    x = cloud([9.0, 4.0, 2.0, 1.0, 0.5, 0.1])
    values = torch.linalg.eigvalsh(x.double().T.cov()).flip(0)
    for noise, beta in ((0.3, 1.0), (0.3, 4.0), (5.0, 0.25), (20.0, 1.0)):
        found = eigenvalue_rule(x, noise, beta)
        best = optimum(values, 6, noise, beta)
        assert found.allowed == int(best.active.sum())
        assert found.visible == int((best.mean_variance >= 0.01).sum())
        assert torch.allclose(found.eigenvalues, values)
    assert eigenvalue_rule(x, 0.3, 4.0).at(1.0) == 5


def test_a_variance_per_pixel_whitens():
    x = cloud([9.0, 4.0, 1.0])
    scale = torch.tensor([3.0, 1.0, 2.0])
    px = Independent(Normal(x[:8], scale.expand(8, 3)), 1)
    found = eigenvalue_rule(x, px)
    assert found.rule == "whitened"
    assert torch.allclose(found.eigenvalues, torch.linalg.eigvalsh((x / scale).double().T.cov()).flip(0), atol=1e-4)
    equal = eigenvalue_rule(x, Independent(Normal(x[:8], 2.0), 1))
    assert (equal.rule, equal.noise) == ("gaussian", pytest.approx(4.0))


def test_bernoulli_is_the_correlation_for_binary_data():
    x = (cloud([1.0] * 5) + cloud([2.0], seed=1) > 0.4).float()
    found = eigenvalue_rule(x, bernoulli(torch.zeros(4, 5)))
    n = len(x)
    wanted = torch.linalg.eigvalsh(x.double().T.corrcoef()).flip(0) * n / (n - 1)
    assert torch.allclose(found.eigenvalues, wanted)
    assert found.noise == 1


def test_bernoulli_threshold_is_where_collapse_stops_being_a_minimum():
    """Second-order gain of a small weight w: w'Cw / (2 beta) - w'Vw / 2, from the exact loss of a linear decoder."""
    x = (cloud([1.0] * 4, n=300) + cloud([1.5], n=300, seed=1) > 0.2).double()
    spectrum = eigenvalue_rule(x, "bernoulli")
    p = x.mean(0)
    unit = torch.diag((p * (1 - p)).rsqrt())
    w = unit @ torch.linalg.eigh(unit @ x.T.cov(correction=0) @ unit).eigenvectors[:, -1] * 1e-2
    z = torch.linspace(-8, 8, 2001, dtype=torch.float64)
    base = torch.logit(p)

    def loss(beta):
        mean = (x - p) @ w / beta
        density = torch.exp(-0.5 * (z[None] - mean[:, None]).square())
        density = density / density.sum(1, keepdim=True)
        logits = base + z[:, None] * w
        log_px = x @ logits.T - torch.nn.functional.softplus(logits).sum(1)
        return (-(density * log_px).sum(1) + beta * 0.5 * mean.square()).mean()

    collapsed = -(x @ base - torch.nn.functional.softplus(base).sum()).mean()
    critical = float(spectrum.eigenvalues[0])
    assert loss(0.9 * critical) < collapsed < loss(1.1 * critical)


def test_large_images_take_the_short_way():
    x = cloud([9.0, 4.0, 2.0] + [0.01] * 1500, n=1500)
    found = eigenvalue_rule(x, 0.5)
    centred = (x - x.mean(0)).double()
    exact = torch.linalg.eigvalsh(centred @ centred.T).flip(0) / 1499
    assert found.allowed == 3
    assert len(found.eigenvalues) == eigenvalues.TOP
    assert torch.allclose(found.eigenvalues[:3], exact[:3], rtol=2e-3)
    few = eigenvalue_rule(x[:50], 0.5)
    assert len(few.eigenvalues) == 49
    assert torch.allclose(few.eigenvalues, torch.linalg.eigvalsh(x[:50].double().T.cov()).flip(0)[:49], atol=1e-6)


def test_calibrated_and_supported():
    x = cloud([9.0, 4.0, 2.0] + [0.1] * 47)
    found = eigenvalue_rule(x, 1.0)
    assert found.calibrated(3) == pytest.approx(0.1, rel=0.02)
    assert found.supported(16) == 3
    assert found.supported(2) == 2
    assert eigenvalue_rule(cloud([1.0] * 20), 1.0).supported(8) == 0
    rank = cloud([3.0, 1.0]) @ torch.randn(2, 10, generator=torch.Generator().manual_seed(3))
    assert eigenvalue_rule(rank, 0.1).supported(6) == 2


def test_margin_and_nothing():
    found = eigenvalue_rule(cloud([1.0, 0.5]), 0.98)
    assert found.margin == (0, 1)
    assert eigenvalue_rule(torch.zeros(10, 3), 1.0).allowed == 0
    assert eigenvalue_rule(torch.ones(10, 3), "bernoulli").allowed == 0


def test_bad_input():
    x = torch.rand(10, 3)
    with pytest.raises(Unsupported, match="Poisson"):
        eigenvalue_rule(x, Independent(Poisson(x), 1))
    with pytest.raises(BadInput, match="positive"):
        eigenvalue_rule(x, 0.0)
    with pytest.raises(BadInput, match="between 0 and 1"):
        eigenvalue_rule(x * 255, "bernoulli")
    with pytest.raises(BadInput, match="finite"):
        eigenvalue_rule(x * float("nan"), 1.0)
    with pytest.raises(ShapeError):
        eigenvalue_rule(x[:1], 1.0)


def test_noise_does_not_count_by_the_luck_of_a_sample():
    """Five directions in noise of variance 1: half of its eigenvalues lie above 1 in any sample."""
    g = torch.Generator().manual_seed(0)
    weight = 0.35 * torch.randn(400, 5, generator=g)
    x = torch.randn(600, 5, generator=g) @ weight.T + torch.randn(600, 400, generator=g)
    found = eigenvalue_rule(x, 1.0)
    assert found.allowed > 100
    assert found.pooled(1.2) == 5
    assert found.pooled(0.5) == 400
