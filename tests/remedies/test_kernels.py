"""Sums of kernels by blocks against the whole matrix."""

import pytest
import torch

from uncollapse.remedies import kernels
from uncollapse.remedies.kernels import kernel_sums

KINDS = [
    {"width": 3.0},
    {"width": 0.5, "rbf": False},
    {"width": 2.0, "scales": (0.1, 1.0, 4.0)},
    {"width": torch.tensor(2.0, dtype=torch.float64), "scales": (0.3, 2.0), "rbf": False},
]


def whole(a, b, width, scales=(1.0,), rbf=True):
    """All differences at once."""
    ratio = (a[:, None] - (a if b is None else b)).square().sum(2) / width
    return sum((-ratio / s).exp() if rbf else 1 / (1 + ratio / s) for s in scales).sum(1)


@pytest.fixture(params=[(3, 5), (100, 100)])
def tiles(request, monkeypatch):
    monkeypatch.setattr(kernels, "CACHED", request.param)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("within", [True, False])
def test_values_and_gradients(tiles, kind, within):
    torch.manual_seed(0)
    points = [5 + torch.randn(count, 3, dtype=torch.float64) for count in (8, 7)]
    weights, found = torch.rand(8, dtype=torch.float64), []
    for form in (kernel_sums, whole):
        inputs = [part.clone().requires_grad_() for part in points[: 1 if within else 2]]
        sums = form(inputs[0], None if within else inputs[1], **kind)
        (sums * weights).sum().backward()
        found.append([sums.detach(), *(part.grad for part in inputs)])
    for ours, exact in zip(*found, strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sides", [(True, True), (True, False), (False, True)])
def test_gradcheck(tiles, kind, sides):
    torch.manual_seed(0)
    points = [torch.randn(5, 2, dtype=torch.float64).requires_grad_(side) for side in sides]
    assert torch.autograd.gradcheck(lambda a, b: kernel_sums(a, b, **kind), points)


def test_gradcheck_within_one_set(tiles):
    torch.manual_seed(0)
    points = torch.randn(7, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: kernel_sums(a, None, 1.5), points)


@pytest.mark.parametrize("scale", [1.0, 1e-2, 1e-4])
def test_float32_at_small_distances(scale):
    torch.manual_seed(0)
    points = 3 + scale * torch.randn(50, 4)
    exact = whole(points.double(), None, scale**2)
    assert (kernel_sums(points, None, scale**2) - exact).abs().max() < 1e-4 * exact.max()
