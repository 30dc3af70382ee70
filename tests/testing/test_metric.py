import math

import pytest
import torch

from uncollapse.errors import BadInput
from uncollapse.metrics import active_units, mutual_information
from uncollapse.testing.metric import check_metric, cluster_codes, constant_codes, gaussian_codes, reordered


def test_a_metric_fooled_by_the_rate_is_caught():
    def rate(codes):
        return codes.kl.sum(1).mean()

    with pytest.raises(AssertionError, match="constant control"):
        check_metric(rate, collapsed=0, constant=0)


def test_a_metric_of_samples_is_caught():
    def spread(codes):
        return codes.sample.var(0).gt(0.01).sum()

    with pytest.raises(AssertionError, match="collapsed control"):
        check_metric(spread, collapsed=0)
    with pytest.raises(AssertionError, match="other samples"):
        check_metric(lambda codes: codes.sample.max(), sampled=False)


def test_a_metric_of_batches_is_caught():
    with pytest.raises(AssertionError, match="reordered"):
        check_metric(lambda codes: mutual_information(first(codes, 50)).lower)


def first(codes, n):
    return type(codes)(codes.mean[:n], codes.scale[:n], codes.sample[:n], codes.kl[:n])


def test_chunks_that_matter_are_caught():
    with pytest.raises(AssertionError, match="chunk=1"):
        check_metric(lambda codes, chunk=10: float(chunk), chunked=True)


def test_an_honest_metric_passes():
    check_metric(active_units, collapsed=0, constant=0, gaussian=8, sampled=False)


def test_gaussian_codes_have_exact_moments():
    codes = gaussian_codes(4.0, 1000, 5)
    variance = math.exp(-8 / 5)
    assert torch.allclose(codes.scale.square().double(), torch.tensor(variance).double())
    cov = torch.cov(codes.mean.double().T, correction=0)
    assert torch.allclose(cov, (1 - variance) * torch.eye(5).double(), atol=1e-6)
    with pytest.raises(BadInput):
        gaussian_codes(-1.0)
    with pytest.raises(BadInput):
        gaussian_codes(1.0, 5, 5)


def test_controls():
    assert float(constant_codes(latent=3).kl.sum(1).mean()) == 24
    clusters = cluster_codes(4, each=3)
    assert clusters.labels.bincount().tolist() == [3, 3, 3, 3]
    mixed = reordered(clusters)
    assert not torch.equal(mixed.labels, clusters.labels)
    assert torch.equal(
        mixed.mean.sum(1)[mixed.labels.argsort(stable=True)].sort().values, clusters.mean.sum(1).sort().values
    )
