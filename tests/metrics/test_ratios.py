import math

import pytest
import torch

from uncollapse import Codes
from uncollapse.errors import BadInput
from uncollapse.metrics import kl, mutual_information
from uncollapse.metrics.information import log_ratios
from uncollapse.metrics.ratios import FAR
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
