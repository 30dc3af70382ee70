import math

import pytest
import torch

from uncollapse import draw
from uncollapse.draw import Model
from uncollapse.errors import BadInput, ShapeError
from uncollapse.testing.linear import LinearVAE, optimum


def model(posterior="exact", **options):
    weight = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return LinearVAE(weight, 0.4, torch.arange(5).double(), posterior, **options)


def test_evidence_by_integration():
    one = LinearVAE(torch.tensor([[1.5], [-0.5]], dtype=torch.float64), 0.3)
    x = torch.tensor([[0.7, 0.2], [-1.0, 3.0]], dtype=torch.float64)
    z = torch.linspace(-12, 12, 20001, dtype=torch.float64)[:, None]
    logs = one.prior().log_prob(z)[:, None] + one.likelihood(z[:, None]).log_prob(x)
    assert torch.allclose(logs.logsumexp(0) + math.log(24 / 20000), one.log_evidence(x), atol=1e-6)


def test_exact_posterior_obeys_bayes():
    one = model()
    x = one.simulate(4)
    assert isinstance(one, Model)
    d = draw(one, x, samples=6)
    assert torch.allclose(d.log_w, one.log_evidence(x).expand(6, 4), atol=1e-8)


@pytest.mark.parametrize("posterior", ["exact", "diagonal"])
def test_elbo_is_the_mean_of_sampled_ones(posterior):
    one = model(posterior)
    x = one.simulate(3)
    torch.manual_seed(0)
    d = draw(one, x, samples=20000)
    assert torch.allclose(d.elbo, one.elbo(x), atol=0.1)
    gap = one.log_evidence(x) - one.elbo(x)
    assert (gap > -1e-9).all()
    assert (gap.max() < 1e-8) == (posterior == "exact")


def test_diagonal_posterior_is_the_best_one():
    one = model("diagonal")
    x = one.simulate(50)
    best = one.elbo(x).mean()
    for factor in (0.9, 1.1):
        other = model("diagonal")
        other.covariance = other.covariance * factor
        assert other.elbo(x).mean() < best


def test_information_by_sampling():
    one = model()
    x = one.simulate(20000)
    q = one.posterior(x)
    z = q.sample()
    aggregate = torch.distributions.MultivariateNormal(z.mean(0), torch.cov(z.T))
    assert one.information() == pytest.approx(float((q.log_prob(z) - aggregate.log_prob(z)).mean()), abs=0.05)


def test_optimum_is_consistent_with_the_model():
    values = torch.tensor([4.0, 2.0, 0.5], dtype=torch.float64)
    for beta in (1.0, 3.0):
        one, truth = LinearVAE.optimal(values.diag(), 3, 0.3, beta), optimum(values, 3, 0.3, beta)
        assert torch.allclose(one.covariance.diagonal(), truth.variance)
        mean_variance = (one.gain @ values.diag() @ one.gain.T).diagonal()
        assert torch.allclose(mean_variance, truth.mean_variance)
        assert one.information(values.diag()) == pytest.approx(float(truth.kl.sum()))
        assert truth.active.tolist() == [True, True, beta == 1]
    assert torch.allclose(LinearVAE.optimal(values.diag(), 3, 0.3).data_covariance(), values.diag())


def test_bad_arguments():
    with pytest.raises(ShapeError):
        LinearVAE(torch.randn(5), 1.0)
    with pytest.raises(BadInput):
        LinearVAE(torch.randn(5, 2), 0.0)
    with pytest.raises(BadInput):
        LinearVAE(torch.randn(5, 2), 1.0, posterior="laplace")
    with pytest.raises(BadInput):
        optimum(torch.ones(3), 4, 1.0)
