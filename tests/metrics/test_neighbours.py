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
