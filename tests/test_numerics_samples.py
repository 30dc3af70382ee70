"""Samples, probes, importance weights and contrastive bounds at their extremes."""

import math

import mpmath
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from uncollapse import metrics
from uncollapse.codes import Codes
from uncollapse.errors import BadInput, ShapeError, UncollapseError
from uncollapse.functional import info_nce, log_mean_exp
from uncollapse.metrics.pareto import effective_samples, pareto_shape
from uncollapse.testing.extremes import LAYOUTS, codes_of, examples, layouts, seeds, tables

LOGITS = st.sampled_from([0.0, 1e-6, 1.0, 50.0, 1e4])


def brute(real, fake, k):
    """Density, coverage, precision, recall by differences in float64."""
    x, y = (points.flatten(1).double().contiguous() for points in (real, fake))

    def square(a, b):
        return torch.stack([(one - b).square().sum(1) for one in a])

    def radius(a):
        return square(a, a).fill_diagonal_(-1).sort(1).values[:, k]

    across = square(x, y)
    inside = across < radius(x)[:, None]
    parts = inside.double().sum(0).mean() / k, inside.any(1), inside.any(0), (across < radius(y)).any(1)
    return [float(part.double().mean()) for part in parts]


@given(tables((3, 30)), st.integers(1, 30), seeds(), st.sampled_from(LAYOUTS), st.booleans())
@examples(80)
def test_samples_are_compared_exactly(table, k, seed, layout, same):
    """Twins, constants and one-hot rows are full of ties: none may be decided by rounding."""
    assume(k < len(table))
    generator = torch.Generator().manual_seed(seed)
    real = layouts(table.clamp(-6e4, 6e4), layout)
    fake = real[torch.randint(len(real), (len(real),), generator=generator)]
    if not same:
        fake = (fake.double() * (1 + 0.1 * torch.randn(fake.shape, generator=generator, dtype=torch.float64))).to(real)
        assume(bool(fake.isfinite().all()))
    found = metrics.density_coverage(real, fake, k)
    assert list(found) == pytest.approx(brute(real, fake, k), rel=1e-14)


@given(tables((6, 25), (1, 2, 3)), st.integers(1, 4), st.integers(-30, 30), seeds())
@examples(40)
def test_samples_do_not_depend_on_units_or_axes(table, k, exponent, seed):
    table = table.double()
    generator = torch.Generator().manual_seed(seed)
    fake = table + 0.3 * table.std() * torch.randn(table.shape, generator=generator, dtype=torch.float64)
    one = metrics.density_coverage(table, fake, k)
    assert metrics.density_coverage(table * 2.0**exponent, fake * 2.0**exponent, k) == one
    assert metrics.density_coverage(table.flip(1), -fake.flip(1), k) == metrics.density_coverage(table, -fake, k)
    order = torch.randperm(len(table), generator=generator)
    again = metrics.density_coverage(table[order], fake, k)
    assert all(a == pytest.approx(b, abs=1e-12) for a, b in zip(one, again, strict=True))


@pytest.mark.parametrize("layout", ["transposed", "strided"])
def test_ties_do_not_depend_on_where_numbers_lie(layout):
    """Sums along rows that are not contiguous are taken in another order, and twins were no longer equally far."""
    real = 1e-6 * torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    fake = real[torch.randint(40, (40,), generator=torch.Generator().manual_seed(0))]
    for pair in ((layouts(real, layout), fake), (real, layouts(fake, layout)), (fake.double(), layouts(real, layout))):
        assert list(metrics.density_coverage(*pair, 2)) == pytest.approx(brute(*pair, 2), rel=1e-14)


def test_many_classes_are_a_flag_and_no_warning():
    codes = codes_with(torch.arange(12))
    for found in (metrics.linear_probe(codes, codes), metrics.knn_probe(codes, codes, 1)):
        assert "fewer than two training codes a class" in found.flags


def codes_with(labels):
    mean = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(0))
    return Codes.from_gaussian(mean, torch.ones_like(mean), labels)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused(bad):
    table = torch.randn(9, 3)
    table[4, 1] = bad
    for pair in ((table, torch.randn(9, 3)), (torch.randn(9, 3), table)):
        with pytest.raises(BadInput, match="NaN or infinite"):
            metrics.density_coverage(*pair, 3)
    with pytest.raises(ShapeError):
        metrics.density_coverage(torch.randn(9), torch.randn(9), 3)


@given(codes_of((4, 30), (1, 2, 33), labels=True), st.booleans())
@examples(40)
def test_probes_score_or_refuse(codes, standardise):
    classes = len(set(codes.labels.tolist()))
    if classes < 2:
        with pytest.raises(BadInput, match="two classes"):
            metrics.linear_probe(codes, codes)
        with pytest.raises(BadInput, match="two classes"):
            metrics.knn_probe(codes, codes, 1)
        return
    found = metrics.linear_probe(codes, codes, standardise=standardise)
    assert 0 <= found <= 1
    k = min(3, len(codes))
    near = metrics.knn_probe(codes, codes, k)
    x, y = codes.mean.double(), codes.labels
    distance = torch.stack([(one - x).square().sum(1) for one in x])
    if all(len(row.unique()) == len(row) for row in distance):  # ties are broken by scikit-learn
        votes = y[distance.argsort(1)[:, :k]]
        right = [int(torch.bincount(row).argmax()) == int(mine) for row, mine in zip(votes, y, strict=True)]
        assert near == pytest.approx(sum(right) / len(right))
    assert 0 <= near <= 1


@given(st.integers(1, 300), LOGITS, seeds(), st.booleans())
@examples(60)
def test_effective_samples(draws, size, seed, twins):
    weights = size * torch.randn(3, draws, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    weights = weights.round() if twins else weights
    found = effective_samples(weights)
    assert (found >= 1 - 1e-9).all()
    assert (found <= draws * (1 + 1e-9)).all()
    shares = [[mpmath.exp(w) for w in row] for row in weights[:1].tolist()]
    slow = [mpmath.fsum(row) ** 2 / mpmath.fsum(w**2 for w in row) for row in shares]
    assert float(found[0]) == pytest.approx(float(slow[0]), rel=1e-8)
    assert torch.allclose(effective_samples(weights + 1e4), found, rtol=1e-8)


def slow_shape(weights):
    """Zhang and Stephens' estimate of one row of log weights, as in their paper, with 60 digits."""
    draws = len(weights)
    tail = math.ceil(min(draws / 5, 3 * math.sqrt(draws)))
    top = sorted(weights)[-tail - 1 :]
    with mpmath.workdps(60):
        w = [mpmath.exp(mpmath.mpf(one) - mpmath.mpf(top[-1])) for one in top]
        x = [one - w[0] for one in w[1:]]
        if x[-1] <= 1e-12:
            return 0.0
        x = [max(one, mpmath.mpf("1e-300")) for one in x]
        n, m = len(x), 30 + int(math.sqrt(len(x)))
        quartile = x[int(n / 4 + 0.5) - 1]
        thetas = [1 / x[-1] + (1 - mpmath.sqrt(m / (j - mpmath.mpf("0.5")))) / 3 / quartile for j in range(1, m + 1)]
        ks = [mpmath.fsum(mpmath.log1p(-theta * one) for one in x) / n for theta in thetas]
        logs = [n * (mpmath.log(-theta / k) - k - 1) for theta, k in zip(thetas, ks, strict=True)]
        shares = [1 / mpmath.fsum(mpmath.exp(other - one) for other in logs) for one in logs]
        theta = mpmath.fsum(share * one for share, one in zip(shares, thetas, strict=True))
        k = mpmath.fsum(mpmath.log1p(-theta * one) for one in x) / n
        return float((n * k + 5) / (n + 10))


@given(st.integers(21, 300), LOGITS, seeds(), st.sampled_from(["wide", "constant", "one", "steps", "ends"]))
@examples(60)
def test_tail_shape(draws, size, seed, kind):
    noise = torch.randn(draws, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    weights = {
        "wide": size * noise,
        "constant": torch.full_like(noise, size),
        "one": torch.where(torch.arange(draws) == draws - 1, size, 0.0).double(),
        "steps": (size * noise / 10).round() * 10,
        "ends": torch.where(noise > 0, size, -size).double(),
    }[kind]
    found = pareto_shape(weights[None])
    assert found.isfinite().all()
    assert float(found[0]) == pytest.approx(slow_shape(weights.tolist()), rel=1e-5, abs=1e-6)
    assert torch.allclose(pareto_shape(weights[None] - 1e4), found, rtol=1e-4, atol=1e-4)


@given(st.integers(1, 12), st.integers(0, 8), LOGITS, st.sampled_from(["wide", "one-hot", "equal"]), seeds())
@examples(60)
def test_contrastive_bound(queries, more, size, kind, seed):
    scores = torch.randn(queries, queries + more, generator=torch.Generator().manual_seed(seed))
    scores = {"wide": scores, "one-hot": torch.eye(queries, queries + more), "equal": torch.ones_like(scores)}[kind]
    scores = size * scores
    found = metrics.infonce_bound(scores)
    wide = scores.double()
    slow = math.log(scores.shape[1]) + (wide.diagonal() - wide.logsumexp(1)).mean()
    assert float(found) == pytest.approx(min(float(slow), found.ceiling), abs=1e-9)
    assert found <= found.ceiling
    assert torch.allclose(info_nce(scores).double(), wide.logsumexp(1) - wide.diagonal(), rtol=1e-6, atol=2e-6)
    if kind == "equal":  # float32 scores of 1e4 gave 0.6934 for log 2
        assert abs(found) < 1e-12
        assert torch.allclose(info_nce(scores).double(), torch.tensor(found.ceiling).double(), atol=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_that_are_no_numbers_are_refused(bad):
    with pytest.raises(UncollapseError):
        metrics.infonce_bound(torch.full((3, 3), bad))


@given(st.integers(1, 30), st.sampled_from([0.0, 1.0, 1e4, 1e30]), seeds())
@examples(30)
def test_log_mean_exp(count, size, seed):
    values = size * torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    with mpmath.workdps(40):
        slow = float(mpmath.log(mpmath.fsum(mpmath.exp(v) for v in values.tolist()) / count)) if size < 1e5 else None
    found = float(log_mean_exp(values, 0))
    assert found == pytest.approx(
        slow if slow is not None else float(values.max()) - math.log(count), rel=1e-12, abs=1e-12
    )
