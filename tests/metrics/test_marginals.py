import math

import pytest
import torch

from uncollapse.metrics import marginals
from uncollapse.metrics.marginals import ERROR, barycentric, interpolated, log_shares, windowed

N, POINTS = 20_000, 500


def exact(z, centre, scale, own):
    logs = -0.5 * ((z[:, None] - centre) / scale).square() - scale.log()
    return logs.gather(1, own[:, None]).squeeze(1) - logs.logsumexp(1)


def line(kind, n=N, points=POINTS):
    g = torch.Generator().manual_seed(0)
    size = {"collapsed": 1.0, "wide": 0.6, "middling": 0.1, "tight": 1e-3, "tiny": 1e-9}.get(kind, 0.3)
    scale = size * (0.3 * torch.randn(n, generator=g, dtype=torch.float64)).exp()
    centre = math.sqrt(max(0.0, 1 - size**2)) * torch.randn(n, generator=g, dtype=torch.float64)
    if kind == "every scale":
        scale = (-20 * torch.rand(n, generator=g, dtype=torch.float64)).exp()
    if kind == "clusters":
        centre = torch.randint(10, (n,), generator=g).double() * 40
    if kind == "outliers":
        centre[::1000] *= 1e5
    if kind == "offset":
        centre = centre + 1e6
    own = torch.randperm(n, generator=g)[:points].sort().values
    return centre[own] + scale[own] * torch.randn(points, generator=g, dtype=torch.float64), centre, scale, own


KINDS = ["collapsed", "wide", "middling", "tight", "tiny", "every scale", "clusters", "outliers", "offset"]


@pytest.mark.parametrize("kind", KINDS)
def test_many_pairs_agree_with_all_of_them(kind):
    z, centre, scale, own = line(kind)
    assert N * POINTS > marginals.PLAIN
    found = log_shares(z, centre, scale, own)
    assert (found - exact(z, centre, scale, own)).abs().max() < 2 * ERROR
    assert (found <= 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_few_pairs_are_all_summed_up(kind):
    z, centre, scale, own = line(kind, 500, 100)
    assert torch.allclose(log_shares(z, centre, scale, own), exact(z, centre, scale, own), atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_windows_leave_out_nothing(kind):
    z, centre, scale, own = line(kind, 3000, 200)
    order = z.argsort()
    z, own = z[order], own[order]
    mine = -0.5 * ((z - centre[own]) / scale[own]).square() - scale[own].log()
    assert torch.allclose(-windowed(z, mine, centre, scale), exact(z, centre, scale, own), atol=1e-9)


def test_smooth_mixtures_are_interpolated_and_rough_ones_are_not():
    def way(kind):
        z, centre, scale, _ = line(kind)
        z = z.sort().values
        return interpolated(z, torch.zeros_like(z), centre, scale)

    assert way("collapsed") is not None
    assert way("wide") is not None
    assert way("tight") is None
    assert way("clusters") is None


def test_a_bad_interpolation_is_noticed(monkeypatch):
    """With nodes too few for the mixture the check at the points has to refuse them."""
    monkeypatch.setattr(marginals, "LEVELS", (9,))
    z, centre, scale, _ = line("wide")
    z, few = z.sort().values, scale.clone()
    few[: N // 10] = 100.0  # so that the fifth percentile is as before, and 3 widths look enough
    centre = torch.where(torch.arange(N) % 2 == 0, centre - 4, centre + 4)
    assert interpolated(z, torch.zeros_like(z), centre, 10 * few.clamp(max=0.01)) is None


def test_barycentric_is_exact_for_polynomials():
    nodes = torch.cos(torch.linspace(0, math.pi, 9, dtype=torch.float64))
    points = torch.cat([torch.linspace(-1, 1, 50, dtype=torch.float64), nodes])
    assert torch.allclose(barycentric(nodes, nodes**7 - nodes, points), points**7 - points, atol=1e-13)


def test_a_point_mass_of_queries():
    centre, scale = torch.zeros(20_000, dtype=torch.float64), torch.ones(20_000, dtype=torch.float64)
    own = torch.arange(500)
    found = log_shares(torch.zeros(500, dtype=torch.float64), centre, scale, own)
    assert torch.allclose(found, torch.full((500,), -math.log(20_000), dtype=torch.float64))
