"""The training panel shows the bound that a critic's loss stands for."""

from uncollapse.report.figures import _history, scale, training


def result(**more):
    points = [{"epoch": e, "mi_lower": 1.0, "mi_upper": 1.2, "kl": 1.5, **more} for e in (1.0, 2.0, 3.0)]
    return {"history": points, "mi": {"ceiling": 5.0}, "spectrum": [1.0]}


def test_bound_is_the_largest_of_the_critics():
    assert [row["bound"] for row in _history(result(bounds={"a": 0.5, "b": 0.9}))] == [0.9] * 3
    assert [row["bound"] for row in _history(result())] == [None] * 3
    assert [row["bound"] for row in _history(result(bounds="broken"))] == [None] * 3


def test_panel_with_a_bound_has_a_line_more():
    plain, bound = ([result(**more)] for more in ({}, {"bounds": {"a": 0.5}}))
    pictures = [training("t", found, 0, scale(found), "panel") for found in (plain, bound)]
    assert pictures[1].count("stroke-dasharray") > pictures[0].count("stroke-dasharray")
