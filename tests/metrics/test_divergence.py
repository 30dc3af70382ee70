import math
import pickle

import pytest
import torch

from uncollapse import Codes
from uncollapse.errors import BadInput
from uncollapse.metrics import kl, mutual_information
from uncollapse.metrics.divergence import marginal_information
from uncollapse.testing.metric import check_metric, constant_codes, gaussian_codes


def test_contract():
    check_metric(kl, collapsed=0, constant=64, gaussian=3.0, sampled=False, tolerance=1e-4)
    check_metric(kl, lambda r: r.information, collapsed=0, constant=0, gaussian=(2.7, 3.2), permuted=0)
    check_metric(kl, lambda r: r.mismatch, collapsed=0, constant=64, gaussian=(-0.3, 0.3))
    check_metric(kl, lambda r: r.joint_information, collapsed=0, constant=0, gaussian=(2.6, 3.1), permuted=0)
    check_metric(kl, lambda r: r.joint_mismatch, collapsed=0, constant=64, gaussian=(-0.1, 0.4))


def test_constant_encoder_is_all_mismatch():
    rate = kl(constant_codes(latent=16))
    assert rate == 128
    assert rate.per_dim.tolist() == [8.0] * 16
    assert rate.information == pytest.approx(0, abs=1e-12)
    assert rate.mismatch == pytest.approx(128, abs=1e-9)
    assert rate.joint_mismatch == pytest.approx(128, abs=1e-9)


def test_marginal_information_equals_the_loop():
    g = torch.Generator().manual_seed(0)
    codes = Codes.from_gaussian(torch.randn(25, 3, generator=g), torch.rand(25, 3, generator=g) + 0.2)
    queries, found = marginal_information(codes)
    assert queries.tolist() == list(range(25))
    for j in range(3):
        for i in range(25):
            q = torch.distributions.Normal(codes.mean[:, j].double(), codes.scale[:, j].double())
            logs = q.log_prob(codes.sample[i, j].double())
            assert found[i, j] == pytest.approx(float(logs[i] - logs.logsumexp(0) + math.log(25)), abs=1e-10)


def test_one_latent_is_the_bracket():
    codes = gaussian_codes(1.5, 400, 1)
    assert kl(codes).information == pytest.approx(mutual_information(codes).lower, abs=1e-9)


def test_parts_add_up_and_repeat_counts():
    x = torch.randn(1000, 1, generator=torch.Generator().manual_seed(0)).expand(1000, 2)
    rate = kl(Codes.from_gaussian(2 * x, torch.full((1000, 2), 0.5)))
    assert rate.information + rate.mismatch == pytest.approx(rate, abs=1e-9)
    assert rate.joint_information + rate.joint_mismatch == pytest.approx(rate, abs=1e-9)
    assert torch.allclose(rate.information_per_dim + rate.mismatch_per_dim, rate.per_dim)
    each = 0.5 * math.log(1 + 4 / 0.25)
    assert rate.information == pytest.approx(2 * each, abs=5 * rate.information.se)
    exact = 0.5 * math.log(1 + 2 * 4 / 0.25)
    assert rate.joint_information == pytest.approx(exact, abs=5 * rate.joint_information.se)
    # The mismatch of a latent: KL(N(0, 4.25) || N(0, 1)), up to the spread of x in the sample.
    mismatch = 0.5 * (4 * float(x[:, 0].square().mean()) + 0.25 - 1 - math.log(4.25))
    assert rate.mismatch == pytest.approx(2 * mismatch, abs=5 * rate.mismatch.se + 0.1)


def test_many_examples_are_queried_in_part():
    codes = gaussian_codes(2.0, 3000, 4)
    rate = kl(codes)
    assert rate.information.n == 2048
    assert rate.information == pytest.approx(2.0, abs=4 * rate.information.se)
    assert kl(codes).information == rate.information


def test_without_a_factor_per_latent():
    codes = gaussian_codes(2.0, 100, 4)
    whole = Codes(codes.mean, codes.scale, codes.sample, codes.kl.sum(1, keepdim=True))
    rate = kl(whole)
    assert rate == pytest.approx(2.0, abs=1e-4)
    assert rate.per_dim.shape == (1,)
    assert rate.joint_information > 0
    assert rate.information == kl(codes).information
    assert rate.mismatch == rate.joint_mismatch
    assert rate.mismatch.flags[0] == "of the whole code"
    with pytest.raises(BadInput, match="factorise"):
        _ = rate.mismatch_per_dim


def test_pickles():
    rate = pickle.loads(pickle.dumps(kl(constant_codes(20, 2))))
    assert (rate, rate.n, rate.unit) == (16.0, 20, "nats")
    assert rate.mismatch == pytest.approx(16)


def test_a_latent_that_says_more_than_the_examples_can_show_is_not_off_the_prior():
    g = torch.Generator().manual_seed(0)
    mean = torch.randn(200, 2, generator=g)  # the aggregate is N(0, I) and every input has its own sharp code
    rate = kl(Codes.from_gaussian((mean - mean.mean(0)) / mean.std(0), torch.full((200, 2), 1e-6)))
    assert rate.mismatch > 10
    assert rate.separation == pytest.approx(0, abs=0.1)
    assert kl(constant_codes(latent=16)).separation == pytest.approx(128, abs=1e-9)
