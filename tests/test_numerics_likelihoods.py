"""Likelihoods at logits of ±1e4, at the ends of their range and at scales from 1e-8 to 1e4, against mpmath."""

import math

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uncollapse.distributions import FixedGaussian, bernoulli, check_observed
from uncollapse.errors import BadInput, NonFinite, UncollapseError
from uncollapse.families import Folded
from uncollapse.likelihoods import DiscretisedLogistic, LearnedGaussian, Multinomial, NegativeBinomial, SharedGaussian
from uncollapse.testing.extremes import LAYOUTS, examples, layouts, seeds

SIZES = st.sampled_from([0.0, 1e-6, 1.0, 50.0, 1e4])
mpmath.mp.dps = 60


def noise_of(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def log_sigmoid(x):
    return -mpmath.log1p(mpmath.exp(-mpmath.mpf(x)))


@given(SIZES, seeds(), st.sampled_from(LAYOUTS), st.sampled_from([0.0, 1.0, 0.5]))
@examples(40)
def test_bernoulli(size, seed, layout, level):
    logits = layouts(size * noise_of(seed, 3, 4), layout)
    x = torch.full((3, 4), level)
    px = bernoulli(logits)
    found = px.log_prob(x)
    assert found.dtype in (torch.float32, torch.float64)
    for row, value in zip(logits.double().tolist(), found.tolist(), strict=True):
        slow = mpmath.fsum(level * log_sigmoid(v) + (1 - level) * log_sigmoid(-v) for v in row)
        assert value == pytest.approx(float(slow), rel=1e-5, abs=1e-6)
    both = Folded(bernoulli(layouts(logits.float().repeat(2, 1), layout)), torch.Size((2, 3))).log_prob(x)
    assert torch.allclose(both, found.expand(2, 3).to(both), rtol=1e-2 if "16" in layout else 1e-5, atol=1e-5)
    assert set(px.sample((5,)).unique().tolist()) <= {0.0, 1.0}
    leaf = logits.float().clone().requires_grad_()
    bernoulli(leaf).log_prob(x).sum().backward()
    assert torch.allclose(leaf.grad.double(), x.double() - leaf.detach().double().sigmoid(), atol=1e-6)


@pytest.mark.parametrize("size", [0.0, 1.0, 50.0, 1e4])
def test_bernoulli_adds_up_to_one(size):
    logits = torch.full((1, 1), size)
    total = sum(float(bernoulli(logits).log_prob(torch.full((1, 1), x)).exp()) for x in (0.0, 1.0))
    assert total == pytest.approx(1, rel=1e-6)


def slow_levels(level, place, log_scale, levels):
    """Log probability of one level, 60 digits."""
    scale, top = mpmath.exp(max(mpmath.mpf(log_scale), mpmath.mpf(-7))), levels - 1

    def below(edge):
        return 1 / (1 + mpmath.exp(-(edge - mpmath.mpf(place)) / scale))

    def above(edge):
        return 1 / (1 + mpmath.exp((edge - mpmath.mpf(place)) / scale))

    low, high = mpmath.mpf(2 * level - 1) / top - 1, mpmath.mpf(2 * level + 1) / top - 1
    if level == 0:
        return mpmath.log(below(high))
    if level == top:
        return mpmath.log(above(low))
    side = (below(high) - below(low)) if high < place else (above(low) - above(high))
    return mpmath.log(side)


@given(
    st.sampled_from([0.0, 0.3, -1.0, 1.0, 30.0, -1e4, 1e4]),
    st.floats(-20, 9.3),
    st.sampled_from([0, 1, 127, 254, 255]),
)
@examples(60)
def test_levels(place, log_scale, level):
    """Scales up to 1e4, where the levels span [-1, 1]: the probability of a level is tiny, not 0."""
    place, log_scale = float(torch.tensor(place)), float(torch.tensor(log_scale))
    raw = torch.tensor([[place, log_scale]])
    px = DiscretisedLogistic()(raw)
    found = float(px.log_prob(torch.tensor([[level / 255]])))
    with mpmath.workdps(9000 if abs(place) > 100 else 120):
        slow = float(slow_levels(level, place, log_scale, 256))
    assert found == pytest.approx(slow, rel=2e-4, abs=2e-4)
    drawn = px.sample((50,))
    assert ((drawn >= 0) & (drawn <= 1)).all()
    assert torch.equal((drawn * 255).round() / 255, drawn)
    assert 0 <= float(px.mean) <= 1


@pytest.mark.parametrize("log_scale", [-20.0, -7.0, -3.0, 0.0, 9.2])
@pytest.mark.parametrize("place", [-1e4, -1.0, 0.2, 1.0, 1e4])
@pytest.mark.parametrize("levels", [2, 256])
def test_levels_add_up_to_one(place, log_scale, levels):
    px = DiscretisedLogistic(levels)(torch.tensor([[place, log_scale]]).double())
    every = torch.arange(levels, dtype=torch.float64)[:, None, None] / (levels - 1)
    assert float(px.log_prob(every).logsumexp(0)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("place", [-1e4, 0.0, 1e4])
def test_levels_have_a_gradient(place):
    raw = torch.tensor([[place, 9.0], [place, -20.0], [place, 0.0]], requires_grad=True)
    for level in (0.0, 0.5, 1.0):
        (slope,) = torch.autograd.grad(DiscretisedLogistic()(raw).log_prob(torch.full((3, 1), level)).sum(), raw)
        assert slope.isfinite().all()


@given(st.floats(math.log(1e-8), math.log(1e4)), SIZES, seeds(), st.sampled_from(["fixed", "learned", "shared"]))
@examples(60)
def test_gaussians(log_scale, size, seed, kind):
    scale = math.exp(log_scale)
    mean, x = size * noise_of(seed, 3, 4), noise_of(seed + 1, 3, 4)
    if kind == "fixed":
        px, sigma = FixedGaussian(scale)(mean), [scale] * 3
    elif kind == "learned":
        raw = torch.cat([mean, torch.full_like(mean, log_scale)], 1)
        px = LearnedGaussian(1e-8)(raw)
        least = math.log(1e-8)
        sigma = [1e-8 * (1 + math.exp(float(torch.tensor(log_scale)) - least))] * 3
    else:
        reader = SharedGaussian(max(scale, 2e-8), 1e-8)
        px, sigma = reader(mean), [max(scale, 2e-8)] * 3
        assert reader.scale.item() == pytest.approx(sigma[0], rel=1e-4)
    for row, seen, value, s in zip(mean.double(), x.double(), px.log_prob(x).tolist(), sigma, strict=True):
        slow = -0.5 * ((seen - row) / s).square().sum() - 4 * (math.log(s) + 0.5 * math.log(2 * math.pi))
        assert value == pytest.approx(float(slow), rel=3e-4, abs=1e-3)
    assert px.sample((3,)).isfinite().all()
    assert px.mean.isfinite().all()


def slow_negative_binomial(x, mean, r):
    """Log probability of one count."""
    x, mean, r = mpmath.mpf(x), mpmath.mpf(mean), mpmath.mpf(r)
    chosen = mpmath.loggamma(x + r) - mpmath.loggamma(r) - mpmath.loggamma(x + 1)
    return chosen + r * mpmath.log(r / (r + mean)) + x * mpmath.log(mean / (r + mean))


@given(st.floats(-20, 20), st.floats(-60, 90), st.sampled_from([0, 1, 7, 1000, 10**6]))
@examples(60)
def test_negative_binomial(log_mean, log_r, count):
    reader = NegativeBinomial(1, "exp")
    with torch.no_grad():
        reader.log_dispersion.fill_(log_r)
    raw = torch.tensor([[log_mean]])
    found = reader(raw).log_prob(torch.tensor([[float(count)]])).item()
    slow = slow_negative_binomial(count, mpmath.exp(float(raw)), mpmath.exp(reader.log_dispersion.item()))
    assert found == pytest.approx(float(slow), rel=1e-5, abs=1e-4)
    assert found <= 1e-4


@pytest.mark.parametrize(("log_mean", "log_r"), [(-20.0, 0.0), (0.0, -5.0), (2.0, 18.0), (2.0, 60.0), (3.0, 0.0)])
def test_negative_binomials_add_up_to_one(log_mean, log_r):
    reader = NegativeBinomial(1, "exp").double()
    with torch.no_grad():
        reader.log_dispersion.fill_(log_r)
    counts = torch.arange(3000, dtype=torch.float64)[:, None, None]
    total = reader(torch.tensor([[log_mean]], dtype=torch.float64)).log_prob(counts).logsumexp(0)
    assert total.item() == pytest.approx(0, abs=1e-6)


@given(SIZES, seeds(), st.sampled_from([0.0, 1.0, 100.0, 1e6]), st.booleans())
@examples(50)
def test_counts_given_their_total(size, seed, most, share):
    """Logits of ±1e4, empty texts and texts of a million words."""
    logits = size * noise_of(seed, 3, 5)
    x = (most * torch.rand(3, 5, generator=torch.Generator().manual_seed(seed))).floor()
    x[0] = 0
    reader = NegativeBinomial(5) if share else Multinomial()
    px = reader(logits)
    found = px.log_prob(x).detach()
    assert found.isfinite().all()
    assert (found <= 1e-3).all()
    assert float(found[0]) == pytest.approx(0, abs=1e-6)
    for row, counts, value in zip(logits.double().log_softmax(1), x.double().tolist(), found.tolist(), strict=True):
        total = sum(counts)
        if share:
            slow = (
                mpmath.fsum(
                    slow_negative_binomial(c, total * mpmath.exp(float(p)), 1) for c, p in zip(counts, row, strict=True)
                )
                if total
                else 0
            )
        else:
            slow = mpmath.loggamma(total + 1) + mpmath.fsum(
                c * float(p) - mpmath.loggamma(c + 1) for c, p in zip(counts, row, strict=True)
            )
        assert value == pytest.approx(float(slow), rel=1e-4, abs=1e-3 * max(1, total / 1e3))
    sized = px.of(torch.tensor(20.0))
    assert ((sized.sample((4,)) >= 0) & sized.sample((4,)).isfinite()).all()
    assert sized.mean.sum(1).tolist() == pytest.approx([20.0] * 3, rel=1e-4)
    assert (sized.variance >= 0).all()


def test_counts_of_huge_means_do_not_overflow_unsaid():
    """exp(100) is beyond float32: the mean is infinite, the log probability still right, and nothing is drawn."""
    px = NegativeBinomial(1, "exp")(torch.tensor([[100.0]]))
    slow = slow_negative_binomial(3, mpmath.exp(100), 1)
    assert px.log_prob(torch.tensor([[3.0]])).item() == pytest.approx(float(slow), rel=1e-5)
    for raw in (100.0, 50.0, 1e4):  # torch draws -9e18 of a mean of 5e21
        with pytest.raises(NonFinite, match="can be drawn"):
            NegativeBinomial(1, "exp")(torch.tensor([[raw]])).sample()


@pytest.mark.parametrize(
    "make",
    [
        lambda: FixedGaussian(0.0),
        lambda: LearnedGaussian(0.0),
        lambda: SharedGaussian(1e-9, 1e-8),
        lambda: SharedGaussian(math.inf),
        lambda: DiscretisedLogistic(1),
        lambda: FixedGaussian(math.nan),
    ],
)
def test_likelihoods_that_are_none_are_refused(make):
    with pytest.raises(BadInput):
        make()


@pytest.mark.parametrize(
    "reader",
    [bernoulli, FixedGaussian(1.0), LearnedGaussian(), DiscretisedLogistic(), Multinomial(), NegativeBinomial(4)],
)
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_in_single(reader, kind):
    raw = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).to(kind)
    px = reader(raw)
    x = torch.ones(3, *px.event_shape)
    assert px.log_prob(x).dtype == torch.float32
    assert torch.equal(px.log_prob(x), reader(raw.float()).log_prob(x))


def test_values_outside_the_support_are_refused():
    for px in (
        bernoulli(torch.zeros(2, 3)),
        DiscretisedLogistic()(torch.zeros(2, 6)),
        Multinomial()(torch.zeros(2, 3)),
    ):
        with pytest.raises(UncollapseError):
            check_observed(px, -1.0, 1.0)
