import math

import numpy as np
import pytest
import torch

from uncollapse.metrics.pareto import effective_samples, fit_pareto, pareto_shape


def test_effective_samples():
    log_w = torch.tensor(
        [[0.0, 0.0, 0.0, 0.0], [0.0, -math.inf, -math.inf, -math.inf], [2.0, 2.0, -math.inf, -math.inf]]
    )
    assert effective_samples(log_w).tolist() == pytest.approx([4, 1, 2])
    w = torch.rand(1, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert effective_samples(w.log() + 700).item() == pytest.approx(float(w.sum() ** 2 / w.square().sum()))
    far = effective_samples(torch.full((1, 25), -7.3e15, dtype=torch.float64))  # where numbers are a nat apart
    assert far.item() == 25


@pytest.mark.parametrize("shape", [-0.3, 0.1, 0.5, 0.9, 1.5])
def test_fit_recovers_the_shape(shape):
    from scipy.stats import genpareto

    draws = np.sort(genpareto.rvs(shape, size=(40, 2000), random_state=1, scale=3.0), axis=1)
    found = fit_pareto(torch.as_tensor(draws))
    assert found.mean().item() == pytest.approx(shape, abs=0.03)
    assert found.std() < 0.1


def test_fit_is_near_maximum_likelihood():
    from scipy.stats import genpareto

    draws = np.sort(genpareto.rvs(0.6, size=4000, random_state=2))
    best = genpareto.fit(draws, floc=0)[0]
    assert fit_pareto(torch.as_tensor(draws)[None]).item() == pytest.approx(best, abs=0.02)


@pytest.mark.parametrize("shape", [0.3, 0.7, 1.2])
def test_tail_of_weights(shape):
    uniform = torch.rand(200, 4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert pareto_shape(-shape * uniform.log()).mean().item() == pytest.approx(shape, abs=0.06)


def test_limits():
    assert pareto_shape(torch.randn(3, 20)).isnan().all()
    assert pareto_shape(torch.randn(3, 21)).isfinite().all()
    assert (pareto_shape(torch.full((2, 100), -1e4)) == 0).all()
    spike = torch.zeros(1, 100)
    spike[0, 3] = 1000
    assert pareto_shape(spike).isfinite().all()
