import math

import numpy as np
import pytest
import torch
from torch import nn

from uncollapse import VAE
from uncollapse.errors import BadInput, NonFinite, ShapeError
from uncollapse.metrics import nll
from uncollapse.testing.linear import LinearVAE


def published(posterior="diagonal"):
    """The linear Gaussian model whose exact values reproduce papers.md 7.3: X = 16, D = 8."""
    weight = torch.as_tensor(np.random.default_rng(1).normal(size=(16, 8)))
    return LinearVAE(weight, noise=0.5, posterior=posterior)


class Counting(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner, self.rows, self.largest = inner, 0, 0

    def forward(self, z):
        self.rows += len(z)
        self.largest = max(self.largest, len(z))
        return self.inner(z)


def small(decoder=None):
    torch.manual_seed(0)
    return VAE(nn.Linear(6, 6), decoder or nn.Linear(3, 6), latent=3).double()


def binary(n=9):
    return torch.rand(n, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64).round()


def test_published_table():
    """Exact 28.72, ELBO 30.28, IWAE 29.18 at K = 50 and 29.01 at K = 500.

    The table does not name its matrix. numpy's `default_rng(1).normal(size=(16, 8))` with s² = 1/2 has an expected
    exact value of 28.775 and an expected ELBO of 30.341: the same but for a sample of x that shifts both by 0.06.
    So the differences from the exact value are compared, on paired examples.
    """
    model = published()
    entropy = float(model.evidence().entropy())
    assert entropy == pytest.approx(28.72, abs=0.1)
    x = model.simulate(600)
    exact = -model.log_evidence(x)
    assert float((-model.elbo(x) - exact).mean()) == pytest.approx(30.28 - 28.72, abs=0.02)
    few, many = nll(model, x, samples=50), nll(model, x, samples=500)
    assert float(few - exact.mean()) == pytest.approx(29.18 - 28.72, abs=0.05)
    assert float(many - exact.mean()) == pytest.approx(29.01 - 28.72, abs=0.05)
    assert -model.elbo(x).mean() >= few >= many >= exact.mean()


def test_exact_posterior_needs_one_sample():
    model = published("exact")  # a multivariate normal: the other way of sampling
    x = model.simulate(70)
    found = nll(model, x, samples=30)
    assert torch.allclose(found.per_example, -model.log_evidence(x), atol=1e-8)
    assert found.ess.min() == pytest.approx(30)
    assert (found.pareto_k < 0.7).all()


def test_one_sample_is_the_negative_elbo_with_a_sampled_divergence():
    model, x = published(), published().simulate(400)
    found = nll(model, x, samples=1)
    assert found.flags == ()
    assert found == pytest.approx(float(-model.elbo(x).mean()), abs=4 * found.se)
    gap = found.per_example + model.elbo(x)  # the samples' share of the error only
    assert abs(gap.mean()) < 4 * gap.std() / 20


@pytest.mark.parametrize("samples", [1, 7, 60])
def test_equals_the_loop(samples):
    model, x = small(), binary()
    seen = []
    model.decoder.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    found = nll(model, x, samples=samples, seed=5)
    z = torch.cat(seen).reshape(samples, 9, 3)
    with torch.no_grad():
        q, prior = model.posterior(x), model.prior()
        for i in range(9):
            log_w = []
            for k in range(samples):
                px = torch.distributions.Bernoulli(logits=model.decoder(z[k, i])).log_prob(x[i]).sum()
                log_w.append(px + prior.log_prob(z[k, i]) - q.base_dist.log_prob(z[k]).sum(1)[i])
            value = -float(torch.stack(log_w).exp().mean().log())
            assert found.per_example[i] == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize("posterior", ["diagonal", "exact"])
def test_chunks_change_nothing(posterior):
    model = published(posterior)
    x = model.simulate(130)
    whole = nll(model, x, samples=20, chunk=10**6)
    for chunk in (1, 37, 300):
        assert torch.allclose(nll(model, x, samples=20, chunk=chunk).per_example, whole.per_example, atol=1e-9)


def test_each_example_has_its_own_stream():
    model = published()
    x = model.simulate(100)
    first, second = nll(model, x[:30], samples=10), nll(model, x, samples=10)
    assert torch.allclose(first.per_example, second.per_example[:30], atol=1e-9)
    loader = [x[:17], x[17:60], x[60:]]
    assert torch.allclose(nll(model, loader, samples=10).per_example, second.per_example, atol=1e-9)
    twins = nll(model, x[:1].expand(50, -1), samples=10).per_example
    assert len(set(twins.tolist())) == 50
    assert not torch.equal(nll(model, x, samples=10, seed=1).per_example, second.per_example)


@pytest.mark.parametrize(("samples", "chunk"), [(500, 64), (7, 512), (13, 100)])
def test_draws_exactly_what_was_asked(samples, chunk):
    decoder = Counting(nn.Linear(3, 6))
    found = nll(small(decoder), binary(), samples=samples, chunk=chunk)
    assert decoder.rows == 9 * samples
    assert decoder.largest <= max(chunk, 9)
    assert found.samples == samples


def test_flags():
    model = published()
    x = model.simulate(50)
    found = nll(model, x, samples=100)
    assert "effective samples" in found.flags[0]
    assert 1 <= found.ess.min() <= found.ess.max() <= 100
    wide = VAE(nn.Linear(6, 6), nn.Linear(3, 6), latent=3, read_x=lambda raw: tight(raw))
    torch.manual_seed(0)
    heavy = nll(wide, torch.randn(40, 6), samples=100)
    assert any("Pareto" in flag for flag in heavy.flags)


def tight(raw):
    return torch.distributions.Independent(torch.distributions.Normal(raw, 0.05), 1)


def test_puts_everything_back():
    model = small(nn.Sequential(nn.Linear(3, 6), nn.Dropout(0.5)))
    model.train()
    state = torch.get_rng_state()
    first = nll(model, binary(), samples=5)
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert nll(model, binary(), samples=5) == first  # no dropout in evaluation


def test_bfloat16_only_when_asked_and_with_its_error():
    torch.manual_seed(0)
    model, x = VAE(nn.Linear(6, 6), nn.Linear(3, 6), latent=3), binary(20).float()
    found, exact = nll(model, x, samples=30, precision="bf16"), nll(model, x, samples=30)
    gaps = (found.per_example - exact.per_example)[:8]
    assert 0 < gaps.abs().max() < 0.1
    assert found.flags[0].startswith(f"bf16: off by {gaps.mean():+.2g} ± ")
    assert found.flags[0].endswith("on 8 examples")
    assert not any("bf16" in flag for flag in exact.flags)
    assert nll(model, [x[:3], x[3:]], samples=30, precision="bf16").flags[0].endswith("on 3 examples")


def test_threads_change_nothing():
    model, x = small(), binary(70)
    alone = nll(model, x, samples=30).per_example
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert torch.allclose(nll(model, x, samples=30).per_example, alone, atol=1e-12)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("options", [{"samples": 0}, {"samples": 2.0}, {"chunk": 0}, {"precision": "16"}])
def test_bad_arguments(options):
    with pytest.raises(BadInput):
        nll(small(), binary(), **options)


def test_bad_data():
    with pytest.raises(BadInput, match="no example"):
        nll(small(), binary(0))
    with pytest.raises(ShapeError):
        nll(small(nn.Linear(3, 5).double()), binary())


def test_nan_names_the_example():
    x = binary(80)
    x[70] = math.nan
    with pytest.raises(NonFinite, match="example 70"):
        nll(small(), x, samples=3)
