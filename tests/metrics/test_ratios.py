import math

import pytest
import torch

from uncollapse import Codes
from uncollapse.errors import BadInput
from uncollapse.metrics import kl, mutual_information
from uncollapse.metrics import ratios as module
from uncollapse.metrics.ratios import FAR, SIDE, log_ratios, places
from uncollapse.testing.metric import constant_codes, gaussian_codes


def slow(mean, scale, z, own):
    logs = -0.5 * ((z[:, None] - mean) / scale).square().sum(2) - scale.log().sum(1)
    return (logs.gather(1, own[:, None]).squeeze(1) - logs.logsumexp(1)).clamp(-FAR, 0)


def table(n, latent, scales, seed=0):
    g = torch.Generator().manual_seed(seed)
    low, high = (math.log(one) for one in scales)
    mean = torch.randn(n, latent, generator=g, dtype=torch.float64)
    mean[n // 2 :] = mean[: n - n // 2]  # twins, so that tight posteriors have something to share
    scale = (low + (high - low) * torch.rand(n, 1, generator=g, dtype=torch.float64)).exp().expand(n, latent)
    return mean, scale, mean + scale * torch.randn(n, latent, generator=g, dtype=torch.float64)


@pytest.mark.parametrize("scales", [(0.5, 1.5), (1e-3, 1.0), (1e-7, 1e-6), (1e-9, 1.0), (1e-12, 1e-11), (3.0, 50.0)])
@pytest.mark.parametrize("n", [40, 700])
def test_blocks_equal_differences(scales, n):
    mean, scale, z = table(n, 3, scales)
    own = torch.randperm(n, generator=torch.Generator().manual_seed(1))[: n // 2]
    truth = slow(mean, scale, z[own], own)
    for chunk in (None, 7):
        assert torch.allclose(
            log_ratios(mean, scale, z[own], own, chunk), truth, atol=2e-4 if scales[0] < 0.1 else 1e-10
        )


def test_queries_are_a_sample_of_all():
    codes = gaussian_codes(3.0, 3000, 4)
    every, some = mutual_information(codes), mutual_information(codes, queries=500)
    assert (every.lower.n, some.lower.n) == (3000, 500)
    assert some.lower.flags == ("at 500 of 3,000 examples",)
    assert abs(some.lower - every.lower) < 4 * some.lower.se
    assert some.lower.se == pytest.approx(every.lower.se * math.sqrt(6), rel=0.2)
    assert (some.upper, some.ceiling) == (every.upper, every.ceiling)
    assert mutual_information(codes, queries=5000).lower == every.lower
    assert mutual_information(codes, queries=5000).lower.flags == ()


def test_queries_are_unbiased():
    gaps = []
    for seed in range(40):
        codes = gaussian_codes(2.0, 400, 3, seed)
        some, every = mutual_information(codes, queries=60).lower, mutual_information(codes).lower
        gaps.append((some - every) / some.se)
    assert abs(sum(gaps) / 40) < 3 / math.sqrt(40)
    assert 0.6 < torch.tensor(gaps).std() < 1.4


def test_the_split_takes_queries():
    codes = gaussian_codes(3.0, 3000, 4)
    rate = kl(codes, queries=300)
    assert rate.n == 3000
    assert rate.information.n == rate.joint_information.n == 300
    assert rate.information.flags == ("at 300 of 3,000 examples",)
    assert rate.information == pytest.approx(3.0, abs=4 * rate.information.se)
    assert rate.information + rate.mismatch == pytest.approx(rate, abs=1e-9)


def test_constant_encoders_at_queries():
    assert mutual_information(constant_codes(3000), queries=100).lower == pytest.approx(0, abs=1e-9)
    assert kl(constant_codes(3000), queries=100).information == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("queries", [0, 1, 2.5, True, -3])
def test_bad_queries(queries):
    codes = gaussian_codes(1.0, 50, 2)
    with pytest.raises(BadInput, match="queries"):
        mutual_information(codes, queries=queries)
    with pytest.raises(BadInput, match="queries"):
        kl(codes, queries=queries)


def test_other_families_at_queries():
    codes = gaussian_codes(2.0, 200, 3)
    q = torch.distributions.MultivariateNormal(codes.mean.double(), codes.scale.double().square().diag_embed())
    other = Codes(codes.mean, None, codes.sample, codes.kl.sum(1, keepdim=True), posteriors=(q,))
    found = mutual_information(other, queries=50).lower
    assert found == pytest.approx(mutual_information(codes, queries=50).lower, abs=1e-9)
    assert found.flags == ("at 50 of 200 examples",)


def hard(kind, latent, scale, n=2600):
    """Posteriors that float32 is bad at, with 300 queries."""
    g = torch.Generator().manual_seed(latent)
    mean = torch.randn(n, latent, generator=g, dtype=torch.float64)
    if kind == "twins":
        mean[n // 2 :] = mean[: n // 2]
    elif kind == "one-hot":
        mean = torch.eye(latent, dtype=torch.float64)[torch.randint(latent, (n,), generator=g)]
    elif kind == "copies":  # all latents are the same, so that their rounding errors add up
        mean = mean[:, :1].expand(-1, latent)
    elif kind == "far":
        mean = 1000 + mean
    spread = torch.full((n, latent), scale, dtype=torch.float64)
    if kind == "mixed":
        spread = spread ** torch.rand(n, latent, generator=g, dtype=torch.float64)
    own = torch.randperm(n, generator=g)[:300]
    noise = torch.randn(300, latent, generator=g, dtype=torch.float64)
    return mean, spread, mean[own] + spread[own] * noise, own


KINDS = ["plain", "twins", "one-hot", "copies", "far", "mixed"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1.0, 0.3, 1e-2, 1e-4])
@pytest.mark.parametrize("latent", [1, 8, 64])
def test_many_posteriors_equal_differences(kind, scale, latent):
    mean, spread, z, own = hard(kind, latent, scale)
    assert len(mean) > module.DOUBLE
    truth = torch.cat([slow(mean, spread, z[s : s + 50], own[s : s + 50]) for s in range(0, 300, 50)])
    found = log_ratios(mean, spread, z, own)
    assert (found - truth).abs().max() < 1e-4
    assert (found.mean() - truth.mean()).abs() < 1e-5


@pytest.mark.parametrize(("kind", "scale"), [("plain", 1.0), ("twins", 1e-4), ("copies", 1e-4)])
def test_what_float32_tells_is_used(kind, scale, monkeypatch):
    """The plain case never needs float64, the tight ones not for the whole matrix."""
    monkeypatch.setattr(module, "in_double", None)
    assert log_ratios(*hard(kind, 8, scale)).isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_threads_and_the_place_in_memory_change_nothing(kind):
    mean, spread, z, own = hard(kind, 8, 0.1)
    before = log_ratios(mean, spread, z, own)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert torch.equal(log_ratios(mean, spread, z, own), before)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)


def test_samples_that_belong_to_others_do_not_overflow():
    """Another posterior may be e^200 times as dense: too much for float32, not for float64."""
    mean = torch.zeros(3000, 4, dtype=torch.float64)
    mean[::2] = 10.0
    spread, own = torch.ones_like(mean), torch.arange(0, 600)
    z = mean[own].roll(1, 0)
    found = log_ratios(mean, spread, z, own)
    assert torch.allclose(found, slow(mean, spread, z, own), atol=1e-4)
    assert -210 < found.min() < -200


@pytest.mark.parametrize("shape", [(5, 64), (5, 61), (1, 8)])
@pytest.mark.parametrize("share", [0.0, 0.02, 1.0])
def test_places_of_marks(shape, share):
    marks = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < share
    assert torch.equal(places(marks, marks.numel()), marks.nonzero())
    if marks.sum() > 3:
        assert places(marks, int(marks.sum()) - 1) is None


def test_a_budget_of_time_takes_the_first_queries():
    codes = gaussian_codes(3.0, 6000, 4)
    short = mutual_information(codes, seconds=1e-6)
    assert short.lower.n == SIDE
    assert short.lower.flags == ("at 512 of 6,000 examples, which took 1e-06 s",)
    assert float(short.lower) == float(mutual_information(codes, queries=SIDE).lower)
    assert short.upper == mutual_information(codes, queries=SIDE).upper
    every = mutual_information(codes, seconds=60.0)
    assert (every.lower.n, every.lower.flags) == (6000, ())
    assert every.lower == pytest.approx(mutual_information(codes).lower, abs=1e-6)
    assert mutual_information(codes, queries=700, seconds=60.0).lower.n == 700


def test_the_time_bounds_the_number_of_queries(monkeypatch):
    """A clock that ticks once a look: 512 in the first second, 1,024 in the second, and so 512 in what seems left."""
    ticks = iter(range(100))
    monkeypatch.setattr("uncollapse.metrics.information.time.perf_counter", lambda: float(next(ticks)))
    codes = gaussian_codes(3.0, 6000, 4)
    assert mutual_information(codes, seconds=3.0).lower.n == 4 * SIDE


@pytest.mark.parametrize("seconds", [0, -1.0, math.inf, math.nan, True, "10"])
def test_bad_budgets(seconds):
    with pytest.raises(BadInput, match="seconds"):
        mutual_information(gaussian_codes(1.0, 50, 2), seconds=seconds)
