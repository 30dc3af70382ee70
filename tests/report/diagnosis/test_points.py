"""The map has one scale for both axes, the line divides what it should, and nothing breaks on odd places."""

import math

import numpy as np
import pytest

from uncollapse.report.diagnosis import points


def test_the_map_keeps_proportions_and_puts_up_up(diagnosis):
    local = {"rows": [4, 7, 9], "map": [[0, 0], [2, 0], [0, 1]], "information": [1, 2, 3]}
    panel = points.map_panel(points.examples(local))
    at = {point.row: (x, y) for point, x, y in panel.points}
    assert at[7][0] - at[4][0] == pytest.approx(2 * (at[4][1] - at[9][1]), abs=0.3)
    assert at[9][1] < at[4][1]
    assert panel.span == pytest.approx(800 / ((at[7][0] - at[4][0]) / 2), rel=1e-3)
    xs, ys = zip(*at.values(), strict=True)
    assert 0 <= min(xs) < max(xs) <= points.WIDTH
    assert 0 <= min(ys) < max(ys) <= panel.height


@pytest.mark.parametrize("places", [[[3, 3]] * 4, [[0, 0], [0, 5]], [[0, 0], [1e30, 0]], [[1e-320, 0], [0, 0]]])
def test_maps_without_breadth(places):
    panel = points.map_panel(points.examples({"rows": list(range(len(places))), "map": places}))
    assert all(math.isfinite(x) and math.isfinite(y) for _, x, y in panel.points)
    assert all(0 <= x <= points.WIDTH and 0 <= y <= panel.height for _, x, y in panel.points)


def test_points_without_a_place_are_left_out():
    inputs = points.examples({"rows": [1, 2, 3], "map": [[0, 0], [math.nan, 1], None], "kl": [1.0]})
    assert [p.kl for p in inputs] == [1.0, None, None]
    assert [p.row for p, _, _ in points.map_panel(inputs).points] == [1]
    assert points.map_panel(inputs[1:]) is None


def test_the_line_divides_collapsed_from_not(diagnosis):
    local = diagnosis(count=300)["local"]
    panel = points.local_panel(points.examples(local), local["tau"])
    x1, y1, x2, y2 = panel.line
    below = {p.row for p, x, y in panel.points if y > y1 + (x - x1) * (y2 - y1) / (x2 - x1)}
    kl, epsilon = np.array(local["kl"]), np.array(local["epsilon"])
    clearly = np.abs(kl - local["tau"] * epsilon) > 0.02  # coordinates are rounded
    collapsed = {
        row
        for row, k, e, sure in zip(local["rows"], kl, epsilon, clearly, strict=True)
        if sure and k < local["tau"] * e
    }
    spared = {
        row
        for row, k, e, sure in zip(local["rows"], kl, epsilon, clearly, strict=True)
        if sure and k > local["tau"] * e
    }
    assert collapsed
    assert collapsed <= below
    assert not spared & below


def test_no_epsilon_no_panel(diagnosis):
    local = diagnosis(count=20, decodes=False)["local"]
    assert points.local_panel(points.examples(local), 0.1) is None


def test_colours_cover_the_range_and_labels_sort_as_numbers():
    local = {"rows": list(range(12)), "information": [*range(11), None], "label": [*map(str, range(11)), None]}
    inputs = points.examples(local)
    found = points.colours(inputs)
    assert [points.step(p, found["top"]) for p in inputs] == [int(min(7 * i / 10, 6)) for i in range(11)] + [0]
    assert [name for name, _ in found["legend"]] == [str(i) for i in range(11)]
    assert found["labels"] == [str(i) for i in range(11)]


def test_the_least_are_the_least(diagnosis):
    inputs = points.examples(diagnosis(count=200)["local"])
    least = [p.information for p in points.least(inputs)]
    assert least == sorted(p.information for p in inputs)[:12]


def test_summary_counts_the_empty(diagnosis):
    local = diagnosis(count=200)["local"]
    found = points.summary(local, points.examples(local))
    assert found["empty"] == sum(x < 0.1 for x in local["information"])
    assert found["share"] == pytest.approx(local["collapsed_share"])
