import contextlib
import io
import math

import numpy as np
import pytest
import torch
from prdc import compute_prdc

from uncollapse.errors import BadInput, ShapeError
from uncollapse.metrics import coverage, density, density_coverage, precision, recall

NAMES = ("density", "coverage", "precision", "recall")


def oracle(x, y, k):
    with contextlib.redirect_stdout(io.StringIO()):
        return compute_prdc(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64), k)


def slow(x, y, k):
    """Definitions, one pair at a time, in whole numbers."""

    def square(a, b):
        return int(((a - b) ** 2).sum())

    real = [sorted(square(a, b) for j, b in enumerate(x) if j != i)[k - 1] for i, a in enumerate(x)]
    fake = [sorted(square(a, b) for j, b in enumerate(y) if j != i)[k - 1] for i, a in enumerate(y)]
    near = np.array([[square(a, b) < real[i] for b in y] for i, a in enumerate(x)])
    back = np.array([[square(a, b) < fake[j] for j, b in enumerate(y)] for a in x])
    return {
        "density": near.sum() / (k * len(y)),
        "coverage": near.any(1).mean(),
        "precision": near.any(0).mean(),
        "recall": back.any(1).mean(),
    }


def same(found, expected):
    for name in NAMES:
        assert float(getattr(found, name)) == pytest.approx(float(expected[name]), abs=1e-12), name


@pytest.mark.parametrize(
    ("n", "m", "features", "k", "shift"),
    [(300, 200, 8, 5, 0.0), (200, 340, 3, 3, 0.5), (90, 90, 50, 1, 0.1), (7, 9, 2, 5, 0.0), (1100, 600, 2, 5, 1.0)],
)
def test_equals_prdc(n, m, features, k, shift):
    rng = np.random.default_rng(n + m)
    x, y = rng.normal(size=(n, features)), rng.normal(size=(m, features)) + shift
    same(density_coverage(x, y, k), oracle(x, y, k))


@pytest.mark.parametrize("offset", [1e3, 1e6])
def test_equals_prdc_far_from_the_origin(offset):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(400, 4)), rng.normal(size=(300, 4))
    same(density_coverage(x + offset, y + offset), oracle(x, y, 5))


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_scale_does_not_matter(scale):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 4)), rng.normal(size=(150, 4))
    same(density_coverage(x * scale, y * scale), oracle(x, y, 5))


@pytest.mark.parametrize(("levels", "features"), [(2, 12), (4, 3), (200, 6)])
def test_ties_are_strict(levels, features):
    rng = np.random.default_rng(levels)
    x, y = rng.integers(0, levels, (80, features)), rng.integers(0, levels, (60, features))
    found = density_coverage(x, y, 4)
    same(found, slow(x, y, 4))
    same(found, oracle(x, y, 4))


@pytest.mark.parametrize("clones", [2, 12])
def test_copies_of_real_numbers(clones):
    """Whole numbers divided by 7 keep the ties of the whole numbers where points are copies of one another."""
    rng = np.random.default_rng(3)
    x = np.repeat(rng.integers(0, 1000, (15, 5)), clones, axis=0)
    y = np.concatenate([x[::3], rng.integers(0, 1000, (50, 5))])
    same(density_coverage(x / 7, y / 7, 5), slow(x, y, 5))


@pytest.mark.parametrize("swap", [False, True])
def test_binary_images_against_grey_ones(swap):
    """One set of whole numbers with many ties, one of real numbers, some of them copies of the former."""
    rng = np.random.default_rng(3)
    x = rng.integers(0, 2, (400, 16)).astype(float)
    y = np.concatenate([x[::5], rng.random((200, 16))])
    x, y = (y, x) if swap else (x, y)
    same(density_coverage(x, y, 5), oracle(x, y, 5))


def test_a_generator_of_one_point():
    x = np.random.default_rng(0).normal(size=(200, 5))
    found = density_coverage(x, np.zeros((100, 5)) + x.mean(0))
    assert found.recall == 0
    assert found.coverage < 0.5


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(150, 6)), rng.normal(size=(130, 6))
    before = density_coverage(x, y)
    monkeypatch.setattr("uncollapse.metrics.neighbours.ELEMENTS", 1)
    assert density_coverage(x, y) == before


def test_reduced_products_are_avoided():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(300, 6)), rng.normal(size=(200, 6))
    torch.set_float32_matmul_precision("medium")
    try:
        same(density_coverage(x, y), oracle(x, y, 5))
    finally:
        torch.set_float32_matmul_precision("highest")


def test_coverage_of_equal_distributions():
    n, k = 1000, 5
    g = torch.Generator().manual_seed(0)
    expected = 1 - math.prod((n - i) / (2 * n - i) for i in range(1, k + 1))
    assert expected == pytest.approx(0.9689, abs=2e-4)
    parts = [density_coverage(torch.randn(n, 8, generator=g), torch.randn(n, 8, generator=g), k) for _ in range(4)]
    covered = np.array([float(p.coverage) for p in parts])
    assert covered.mean() == pytest.approx(expected, abs=0.008)
    assert np.mean([float(p.density) for p in parts]) == pytest.approx(1, abs=0.05)
    assert abs(parts[0].coverage - expected) < 5 * parts[0].coverage.se


def test_a_blurred_model_does_not_look_perfect():
    g = torch.Generator().manual_seed(0)
    real = torch.randn(500, 8, generator=g)
    found = density_coverage(real, 0.2 * torch.randn(500, 8, generator=g))
    assert found.coverage < 0.5
    assert found.density > 2  # density alone rewards the centre


def test_single_functions_and_names():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 2, 3)), rng.normal(size=(40, 2, 3))
    found = density_coverage(x, y, 3)
    assert (found.features, found.k) == ("pixels", 3)
    assert found == (density(x, y, 3), coverage(x, y, 3), precision(x, y, 3), recall(x, y, 3))
    assert set(found._asdict()) == set(NAMES)
    assert [e.n for e in found] == [40, 50, 40, 50]


def test_feature_function_is_used_and_named():
    def half(data):
        return torch.as_tensor(data)[:, :2]

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 4)), rng.normal(size=(40, 4))
    found = density_coverage(x, y, 3, features=half)
    assert found.features == "half"
    same(found, oracle(x[:, :2], y[:, :2], 3))


@pytest.mark.parametrize("k", [0, 10, 2.0, True])
def test_bad_k(k):
    with pytest.raises(BadInput, match="k should be"):
        density_coverage(torch.randn(20, 3), torch.randn(10, 3), k)


def test_bad_sets():
    with pytest.raises(ShapeError, match="one shape"):
        density_coverage(torch.randn(20, 3), torch.randn(20, 4))
    with pytest.raises(ShapeError):
        density_coverage(torch.randn(20), torch.randn(20))
    with pytest.raises(ShapeError):
        density_coverage(torch.randn(20, 2), torch.randn(0, 2))
    with pytest.raises(BadInput, match="fake"):
        density_coverage(torch.randn(20, 3), torch.full((20, 3), math.nan))
