"""Information, KL and active units of extreme codes, against sums in float64 that take no short cut."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uncollapse import metrics
from uncollapse.codes import Codes
from uncollapse.metrics import legacy
from uncollapse.testing.extremes import codes_of, examples, gaussians, seeds

CLOSE = 2e-4  #: nats; what mutual_information promises of float32 and float64 products


def pairs(codes, z=None):
    """log q(z_i|x_j) by differences, (N, N)."""
    z = codes.sample if z is None else z
    mean, scale = codes.mean.double(), codes.scale.double()
    rows = [-0.5 * ((one - mean) / scale).square().sum(1) - scale.log().sum(1) for one in z.double()]
    return torch.stack(rows) - 0.5 * codes.latent * math.log(2 * math.pi)


def slow_information(codes):
    """Log ratios (N,), from all pairs."""
    logs = pairs(codes)
    return (logs.diagonal() - logs.logsumexp(1)).clamp(-700, 0) + math.log(len(codes))


def drowned(codes):
    """Nats of the upper bound that rounding may change where means lie 1e13 scales apart: float64 has 16 digits."""
    far = float(codes.mean.double().abs().max() / codes.scale.double().min())
    return codes.latent * (2 * torch.finfo(torch.float64).eps * far) ** 2


def with_samples(codes, rows):
    """Some examples of codes, samples and all."""
    return Codes(codes.mean[rows], codes.scale[rows], codes.sample[rows], codes.kl[rows])


@given(codes_of())
@examples(60)
def test_lower_bound_is_the_slow_one(codes):
    found = metrics.mutual_information(codes)
    values = slow_information(codes)
    assert abs(found.lower - min(max(float(values.mean()), 0), found.ceiling)) < CLOSE
    assert 0 <= found.lower <= found.ceiling == math.log(len(codes))
    assert 0 <= found.upper < math.inf
    assert found.lower.se >= 0


@given(codes_of())
@examples(40)
def test_information_of_single_examples(codes):
    found = metrics.information_per_example(codes, torch.arange(len(codes)), samples=2)
    assert found.isfinite().all()
    assert (found <= math.log(len(codes)) + 1e-9).all()
    once = metrics.information_per_example(codes, torch.arange(len(codes)))
    assert torch.allclose(once, slow_information(codes), rtol=0, atol=CLOSE)


@given(codes_of(), seeds())
@examples(30)
def test_order_does_not_matter(codes, seed):
    order = torch.randperm(len(codes), generator=torch.Generator().manual_seed(seed))
    one, two = metrics.mutual_information(codes), metrics.mutual_information(with_samples(codes, order))
    assert abs(one.lower - two.lower) < CLOSE
    assert two.upper == pytest.approx(one.upper, rel=1e-6, abs=1e-6 + drowned(codes))
    assert metrics.kl(with_samples(codes, order)) == pytest.approx(metrics.kl(codes), rel=1e-12)
    assert metrics.active_units(with_samples(codes, order)) == metrics.active_units(codes)


@given(gaussians(), st.sampled_from([2.0**-20, 0.25, 64.0]), st.integers(-9, 9))
@examples(30)
def test_units_and_origin_do_not_matter(gaussian, factor, step):
    mean, scale = gaussian
    codes = Codes.from_gaussian(mean, scale)
    shift = float(step) * 2.0**-3 * factor
    moved = Codes(
        codes.mean.double() * factor + shift, codes.scale.double() * factor, codes.sample * factor + shift, codes.kl
    )
    exact = ((moved.sample - shift) / factor == codes.sample).all()
    one, two = metrics.mutual_information(codes), metrics.mutual_information(moved)
    if exact:  # rounding of the shifted samples is not the metric's
        assert abs(one.lower - two.lower) < CLOSE
    assert two.upper == pytest.approx(one.upper, rel=1e-5, abs=1e-5)


@given(gaussians())
@examples(40)
def test_collapse_is_zero_at_every_scale(gaussian):
    mean, scale = (table[:1].repeat(len(table), 1) for table in gaussian)
    codes = Codes.from_gaussian(mean, scale)
    bracket, rate = metrics.mutual_information(codes), metrics.kl(codes)
    assert bracket.lower < 1e-9
    assert bracket.upper < 1e-9
    assert rate.information_per_dim.max() < 1e-9
    assert rate.mismatch_per_dim.sum() == pytest.approx(rate, rel=1e-9, abs=1e-9)
    units = metrics.active_units(codes)
    assert units == 0  # the variance of a constant is 0 to the bit
    assert units.spectrum.max() == 0


@given(codes_of())
@examples(30)
def test_twins_leave_no_more_than_the_distinct_ones(codes):
    twice = with_samples(codes, torch.arange(len(codes)).repeat(2))
    one, two = metrics.mutual_information(codes), metrics.mutual_information(twice)
    assert abs(one.lower - two.lower) < CLOSE  # the ceiling rises by log 2, the information does not
    assert two.upper == pytest.approx(one.upper, rel=1e-6, abs=1e-6 + drowned(codes))


@given(codes_of(columns=(1, 2, 3)), st.integers(1, 4))
@examples(20)
def test_latents_that_repeat_nothing_add_nothing(codes, more):
    """Independent noise dimensions change nothing: data processing, with equality."""
    extra = Codes.from_gaussian(torch.full((len(codes), more), 1e3), torch.full((len(codes), more), 1e-8))
    both = Codes(
        torch.cat([codes.mean, extra.mean], 1),
        torch.cat([codes.scale, extra.scale], 1),
        torch.cat([codes.sample, extra.sample], 1),
        torch.cat([codes.kl, extra.kl], 1),
    )
    assert abs(metrics.mutual_information(codes).lower - metrics.mutual_information(both).lower) < CLOSE
    assert torch.allclose(
        metrics.kl(both).information_per_dim[: codes.latent], metrics.kl(codes).information_per_dim, atol=1e-9
    )


@given(codes_of(columns=(1, 2, 3)))
@examples(30)
def test_full_covariance_is_tighter_than_the_diagonal(codes):
    full, diagonal = (metrics.mutual_information(codes, covariance=c).upper for c in ("full", "diagonal"))
    assert full <= diagonal * (1 + 1e-9) + 1e-6


@given(codes_of())
@examples(40)
def test_kl_is_the_closed_form(codes):
    mean, scale = codes.mean.double(), codes.scale.double()
    slow = 0.5 * (mean.square() + (scale - 1) * (scale + 1)) - scale.log()
    found = metrics.kl(codes)
    assert torch.allclose(codes.kl.double(), slow, rtol=1e-5, atol=2e-7)
    assert (codes.kl >= 0).all()
    assert found == pytest.approx(float(slow.sum(1).mean()), rel=1e-5, abs=2e-7 * codes.latent)
    assert found >= 0
    for part in (found.information, found.mismatch, found.joint_information, found.joint_mismatch):
        assert math.isfinite(part)
    assert math.isfinite(found.separation)
    assert found.most_per_dim.isfinite().all()


@given(codes_of(columns=(1, 2, 3, 8)))
@examples(40)
def test_information_of_single_latents(codes):
    found = metrics.kl(codes).information_per_dim
    for j in range(codes.latent):
        column = slice(j, j + 1)
        alone = Codes(codes.mean[:, column], codes.scale[:, column], codes.sample[:, column], codes.kl[:, column])
        assert float(found[j]) == pytest.approx(max(float(slow_information(alone).mean()), 0), abs=CLOSE)


@given(codes_of(), st.sampled_from(["variance", "kl", "max_mean", "fraction"]))
@examples(40)
def test_active_units(codes, definition):
    found = metrics.active_units(codes, definition=definition)
    slow = codes.mean.double().var(0)
    level = codes.mean.double().square().amax(0)
    assert torch.allclose(found.spectrum, slow, rtol=1e-9, atol=float(1e-24 * level.max()))
    assert 0 <= found <= codes.latent
    again = Codes.from_gaussian(codes.mean, codes.scale, seed=7)
    assert metrics.active_units(again, definition=definition) == found
    assert math.isfinite(found.se) or definition == "max_mean"


@given(codes_of(), st.integers(1, 60))
@examples(40)
def test_legacy_information(codes, batch):
    """By products alone it was off by 0.1 nats at scales of 1e-8, and by 1e12 where the means are 1e6 apart."""
    found = legacy.batch_mutual_information(codes, batch)
    parts = []
    for rows in torch.arange(len(codes)).split(batch):
        part = with_samples(codes, rows)
        entropy = part.scale.double().log().sum(1) + 0.5 * codes.latent * (1 + math.log(2 * math.pi))
        parts.append(-entropy - (pairs(part).logsumexp(1) - math.log(len(rows))))
    slow = torch.cat(parts)
    assert found == pytest.approx(float(slow.mean()), abs=CLOSE, rel=1e-9)
    own = legacy.diagonal_mutual_information(codes, batch)
    assert math.isfinite(own)
    for count in (legacy.sampled_units(codes), legacy.batch_fraction(codes, max(batch, 2))):
        assert 0 <= count <= codes.latent


def test_scales_that_a_product_of_means_drowns():
    """The covariance of two clusters on a line is 1 wide along it and 1e-8 across: its Cholesky factor is rounding."""
    ends = torch.tensor([[15.41, -2.9343], [-21.7879, 5.6843]])
    for rows in ([0, 0, 0, 1], [0, 0, 0, 1] * 2, [0, 1] * 20):
        codes = Codes.from_gaussian(ends[rows], torch.full((len(rows), 2), 5e-8))
        share = rows.count(1) / len(rows)
        length = float((ends[0].double() - ends[1].double()).square().sum()) * share * (1 - share)
        slow = 0.5 * math.log1p(length / 5e-8**2)
        assert metrics.mutual_information(codes).upper == pytest.approx(slow, rel=1e-6)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e4])
def test_many_latents(scale):
    generator = torch.Generator().manual_seed(1)
    mean = torch.randn(12, 4096, generator=generator)
    codes = Codes.from_gaussian(mean, torch.full_like(mean, scale))
    found = metrics.mutual_information(codes)
    assert abs(found.lower - max(float(slow_information(codes).mean()), 0)) < CLOSE
    assert 0 <= found.upper < math.inf
    assert metrics.kl(codes).information_per_dim.isfinite().all()


@pytest.mark.parametrize("scale", [1e-8, 1e-3, 1.0, 1e4])
@pytest.mark.parametrize("far", [0.0, 1e6])
def test_more_codes_than_float64_is_taken_for(scale, far):
    """Beyond 2,048 posteriors products are in float32."""
    generator = torch.Generator().manual_seed(1)
    mean = far + torch.randn(2500, 3, generator=generator)
    mean[1::2] = mean[::2]
    codes = Codes.from_gaussian(mean, torch.full_like(mean, scale))
    found = metrics.information_per_example(codes, torch.arange(0, 2500, 40))
    mean, deviation = codes.mean.double(), codes.scale.double()
    for value, i in zip(found, range(0, 2500, 40), strict=True):
        logs = -0.5 * ((codes.sample[i] - mean) / deviation).square().sum(1) - deviation.log().sum(1)
        assert float(value) == pytest.approx(float(logs[i] - logs.logsumexp(0)) + math.log(2500), abs=CLOSE)
