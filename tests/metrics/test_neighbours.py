import pytest
import torch

from uncollapse.metrics.neighbours import Space, smallest


@pytest.mark.parametrize(("rows", "columns", "count"), [(5, 20, 4), (7, 3000, 9), (3, 700, 32), (4, 515, 1), (2, 9, 9)])
def test_smallest_equals_sort(rows, columns, count):
    values = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))
    found, where = smallest(values, count)
    assert torch.equal(found, values.sort(1).values[:, :count])
    assert torch.equal(values.gather(1, where), found)


def test_smallest_with_ties():
    values = torch.zeros(3, 2000)
    values[:, 1500] = -1
    found, where = smallest(values, 6)
    assert found.tolist() == [[-1, 0, 0, 0, 0, 0]] * 3
    assert all(len(set(row)) == 6 for row in where.tolist())


def test_radii_equal_direct_distances():
    x = torch.randn(600, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 3
    space = Space(x, x[:10])
    direct = (space.points[0][:, None] - space.points[0]).square().sum(2)
    assert torch.equal(space.radii(0, 4), direct.sort(1).values[:, 4])


def test_whole_numbers_stay_as_they_are():
    x = torch.randint(0, 2, (50, 30), generator=torch.Generator().manual_seed(0)).double()
    space = Space(x, x)
    assert space.exact
    assert torch.equal(space.radii(0, 2), torch.cdist(x, x).square().round().sort(1).values[:, 2])
    assert not Space(1000 * x, x).exact  # too large for float32
    assert not Space(x / 3, x).exact


def slow_radii(x, k):
    direct = (x[:, None] - x).square().sum(2)
    direct.fill_diagonal_(-1)
    return direct.sort(1).values[:, k]


@pytest.mark.parametrize("copies", [1, 3, 40])
def test_ties_of_real_numbers(copies):
    """More equal distances than there are candidates: all of them have to be looked at, in float64."""
    g = torch.Generator().manual_seed(0)
    x = (torch.rand(8, 5, generator=g, dtype=torch.float64) / 3).repeat(copies, 1)
    x = torch.cat([x, torch.randint(0, 2, (300, 5), generator=g).double() / 3])
    space = Space(x, x[:3] + 0.1)
    assert space.whole == (False, False)
    for k in (1, 4):
        assert torch.equal(space.radii(0, k), slow_radii(space.points[0], k))


def test_one_whole_set_needs_no_second_look(monkeypatch):
    """Binary images and grey generations: the ties among the former are exact in float32."""
    g = torch.Generator().manual_seed(0)
    x, y = torch.randint(0, 2, (400, 12), generator=g).double(), torch.rand(300, 12, generator=g, dtype=torch.float64)
    space = Space(x, y)
    assert space.whole == (True, False)
    monkeypatch.setattr(space, "pairs", None)
    assert torch.equal(space.radii(0, 3), slow_radii(x, 3))
    huge = Space(x, 1e25 * y)
    assert huge.whole == (False, False)
    assert torch.equal(huge.radii(0, 3), slow_radii(huge.points[0], 3))


def test_threads_change_nothing():
    g = torch.Generator().manual_seed(0)
    x, y = (torch.randn(900, 4, generator=g, dtype=torch.float64) for _ in range(2))
    space = Space(x, y)
    reals, fakes = space.radii(0, 5), space.radii(1, 5)
    before = space.compare(reals, fakes)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert torch.equal(space.radii(0, 5), reals)
        assert all(torch.equal(a, b) for a, b in zip(space.compare(reals, fakes), before, strict=True))
    finally:
        torch.set_num_threads(threads)
