import pytest
import torch
from torch.distributions import Multinomial as TorchMultinomial
from torch.distributions import NegativeBinomial as TorchNegativeBinomial

from uncollapse.errors import BadInput, ShapeError, Unsupported
from uncollapse.likelihoods import Multinomial, NegativeBinomial

X = torch.tensor([[3.0, 0.0, 5.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0], [900.0, 20_000.0, 1.0]])


def negative_binomial(mean="share"):
    torch.manual_seed(0)
    reader = NegativeBinomial(3, mean)
    with torch.no_grad():
        reader.log_dispersion.copy_(torch.tensor([-1.0, 0.5, 3.0]))
    return reader


@pytest.mark.parametrize("mean", ["share", "exp"])
def test_negative_binomial_against_torch(mean):
    reader, raw = negative_binomial(mean), torch.randn(4, 3)
    mu = X.sum(1, keepdim=True) * raw.softmax(1) if mean == "share" else raw.exp()
    r = reader.log_dispersion.double().exp()
    rows = X.sum(1) > 0
    slow = TorchNegativeBinomial(r, logits=mu.double().log() - r.log()).log_prob(X.double()).sum(1)
    found = reader(raw).log_prob(X)
    torch.testing.assert_close(found[rows], slow[rows].float(), rtol=1e-5, atol=1e-3)
    if mean == "share":
        assert found[2] == 0  # nothing was counted, and the total is given


def test_probabilities_of_all_counts_add_up_to_one():
    px = NegativeBinomial(1, "exp")(torch.tensor([[0.7]]))
    assert px.log_prob(torch.arange(300.0).reshape(-1, 1, 1)).exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_large_counts_keep_their_digits():
    px = NegativeBinomial(1, "exp")(torch.tensor([[15.0]]))
    x = torch.tensor([[3_000_000.0]])
    mu = torch.tensor(15.0, dtype=torch.float64).exp()
    exact = TorchNegativeBinomial(torch.ones(1).double(), logits=mu.log()).log_prob(x.double())
    assert px.log_prob(x).item() == pytest.approx(exact.item(), abs=1e-3)


def test_samples_of_given_totals_have_the_mean_and_variance_that_are_told():
    torch.manual_seed(0)
    px = negative_binomial()(torch.tensor([[0.0, 1.0, 2.0]])).of(torch.tensor(30.0))
    drawn = px.sample((50_000,))[:, 0]
    error = (px.variance[0] / 50_000).sqrt()
    assert ((drawn.mean(0) - px.mean[0]).abs() < 5 * error).all()
    torch.testing.assert_close(drawn.var(0), px.variance[0], rtol=0.1, atol=0)
    assert px.mean.sum().item() == pytest.approx(30.0, rel=1e-5)


def test_the_gradient_reaches_shares_and_dispersions_also_for_an_empty_example():
    reader, raw = negative_binomial(), torch.randn(4, 3, requires_grad=True)
    reader(raw).log_prob(X).sum().backward()
    assert raw.grad.isfinite().all()
    assert reader.log_dispersion.grad.isfinite().all()
    assert raw.grad[2].abs().max() < 1e-30


def test_multinomial_against_torch():
    raw = torch.randn(4, 3)
    found = Multinomial()(raw).log_prob(X)
    slow = torch.stack([TorchMultinomial(int(x.sum()), logits=one).log_prob(x) for x, one in zip(X, raw, strict=True)])
    torch.testing.assert_close(found, slow, rtol=1e-4, atol=2e-2)
    exact = [
        TorchMultinomial(int(x.sum()), logits=o.double()).log_prob(x.double()) for x, o in zip(X, raw, strict=True)
    ]
    torch.testing.assert_close(found, torch.stack(exact).float(), rtol=1e-5, atol=2e-3)


def test_multinomial_of_a_given_total():
    torch.manual_seed(0)
    px = Multinomial()(torch.tensor([[0.0, 1.0], [2.0, 0.0]])).of(torch.tensor([4, 7]))
    drawn = px.sample((5_000,))
    assert drawn.shape == (5_000, 2, 2)
    assert (drawn.sum(2) == torch.tensor([4.0, 7.0])).all()
    assert ((drawn.mean(0) - px.mean).abs() < 5 * (px.variance / 5_000).sqrt()).all()


@pytest.mark.parametrize("reader", [NegativeBinomial(3), Multinomial()])
def test_without_a_total_there_is_no_mean_and_no_sample(reader):
    px = reader(torch.zeros(2, 3))
    with pytest.raises(Unsupported, match="total"):
        _ = px.mean
    with pytest.raises(Unsupported, match="total"):
        px.sample()


def test_a_mean_of_its_own_needs_no_total():
    px = NegativeBinomial(3, "exp")(torch.zeros(2, 3))
    assert torch.equal(px.mean, torch.ones(2, 3))
    assert px.sample((4,)).shape == (4, 2, 3)


def test_mistakes():
    with pytest.raises(BadInput, match="one of share, exp"):
        NegativeBinomial(3, "softmax")
    with pytest.raises(BadInput, match="number of counts"):
        NegativeBinomial(0)
    with pytest.raises(ShapeError, match="3 numbers an example, got 4"):
        NegativeBinomial(3)(torch.zeros(2, 4))
    with pytest.raises(ShapeError, match="vectors of counts"):
        Multinomial()(torch.zeros(2, 1, 4))
