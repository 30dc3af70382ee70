import math

import pytest
import torch

from uncollapse import Codes
from uncollapse.errors import BadInput
from uncollapse.metrics import active_units
from uncollapse.testing.metric import check_metric, cluster_codes, constant_codes


def graded(n=1000):
    """Latents whose means have exactly the variances 1, 0.02, 0.01, 0.009 and 0."""
    x = torch.randn(n, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = (x - x.mean(0)) / x.std(0)
    target = torch.tensor([1.0, 0.02, 0.0101, 0.0099, 0.0], dtype=torch.float64)
    return Codes.from_gaussian(x * target.sqrt(), torch.full((n, 5), 0.5))


def test_contract():
    check_metric(active_units, collapsed=0, constant=0, gaussian=8, permuted=8, sampled=False)
    check_metric(lambda c: active_units(c, definition="kl"), collapsed=0, constant=8, gaussian=8, sampled=False)
    check_metric(lambda c: active_units(c, definition="max_mean"), collapsed=0, constant=8, gaussian=8, sampled=False)
    check_metric(lambda c: active_units(c, definition="fraction"), collapsed=0, constant=0, gaussian=1, sampled=False)


def test_threshold_spectrum_and_mask():
    units = active_units(graded())
    assert units == 3
    assert units.mask.tolist() == [True, True, True, False, False]
    assert units.spectrum == pytest.approx([1.0, 0.02, 0.0101, 0.0099, 0.0], abs=1e-7)
    assert (units.n, units.unit, units.definition, units.threshold) == (1000, "units", "variance", 0.01)
    assert active_units(graded(), threshold=0.5) == 1


def test_the_threshold_itself_is_active():
    mean = torch.tensor([[-1.0], [0.0], [1.0]])  # variance exactly 1 with the (n - 1) denominator
    assert active_units(Codes.from_gaussian(mean, torch.ones(3, 1)), threshold=1.0) == 1


def test_error_tells_of_units_near_the_threshold():
    assert 0.5 < active_units(graded()).se < 1  # two latents are close calls
    assert active_units(constant_codes()).se == 0
    assert math.isnan(active_units(graded(), definition="max_mean").se)


def test_other_definitions():
    codes = graded()
    by_kl = active_units(codes, definition="kl")
    assert by_kl == 5  # the scale of 0.5 costs 0.32 nats whatever the mean
    assert torch.allclose(by_kl.statistic, codes.kl.double().mean(0))
    assert torch.allclose(by_kl.spectrum, active_units(codes).spectrum)
    share = active_units(codes, definition="fraction")
    assert (float(share), share.unit) == (0.6, "share")
    largest = active_units(codes, threshold=1.0, definition="max_mean")
    assert torch.equal(largest.statistic, codes.mean.double().abs().amax(0))
    assert largest == 1


def test_clusters_are_active():
    assert active_units(cluster_codes(4)) == 8


@pytest.mark.parametrize("options", [{"definition": "std"}, {"threshold": 0.0}, {"threshold": math.nan}])
def test_bad_arguments(options):
    with pytest.raises(BadInput):
        active_units(constant_codes(), **options)


def test_kl_has_to_factorise():
    codes = constant_codes(10, 2)
    whole = Codes(codes.mean, codes.scale, codes.sample, codes.kl.sum(1, keepdim=True))
    assert active_units(whole) == 0
    with pytest.raises(BadInput, match="factorise"):
        active_units(whole, definition="kl")
