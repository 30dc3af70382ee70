import math
from statistics import mean, stdev

import pytest

from uncollapse.errors import BadInput
from uncollapse.report import rows
from uncollapse.report.table import references, show, unranked, visible


def result(arm, seed, word="healthy", **values):
    metrics = {name: {"value": value} for name, value in values.items()}
    return {"arm": arm, "seed": seed, "metrics": metrics, "verdict": {"word": word}}


def best(table, key):
    return [row.arm for row in table if row.cells[key].best]


def test_mean_and_spread_over_seeds(study):
    header, results = study(seeds=(0, 1, 2))
    for row in rows(results, header["arms"]):
        for column in visible(rows(results, header["arms"])):
            values = [r["metrics"][column.key]["value"] for r in results if r["arm"] == row.arm]
            assert row.cells[column.key].mean == pytest.approx(mean(values))
            assert row.cells[column.key].std == pytest.approx(stdev(values))


def test_each_column_has_its_own_best():
    low = {"nll": 1.0, "kl": 1.0, "mi_lower": 1.0, "mi_upper": 1.0, "active_units": 1.0, "density": 0.9}
    high = dict.fromkeys(low, 2.0) | {"density": 1.2}
    table = rows([result("low", 0, coverage=0.1, probe=0.1, **low), result("high", 0, coverage=0.2, probe=0.2, **high)])
    found = {column.key: best(table, column.key) for column in visible(table)}
    assert found == {
        "nll": ["low"],
        "kl": [],
        "mi_lower": ["high"],
        "mi_upper": [],
        "active_units": ["high"],
        "density": ["low"],
        "coverage": ["high"],
        "probe": ["high"],
    }


def test_best_needs_a_rival_shares_ties_and_ignores_rows_with_fewer_seeds():
    assert best(rows([result("alone", 0, nll=1.0)]), "nll") == []
    tied = [result("a", 0, nll=1.001), result("b", 0, nll=0.999), result("c", 0, nll=2.0)]
    assert best(rows(tied), "nll") == ["a", "b"]
    lucky = [result(arm, seed, nll=2.0 + (arm == "b")) for arm in "ab" for seed in (0, 1)] + [result("c", 0, nll=0.0)]
    assert best(rows(lucky), "nll") == ["a"]
    assert best(rows([result("a", 0, density=0.5), result("b", 0, density=1.5)]), "density") == ["a", "b"]


def test_the_best_density_is_the_one_closest_to_the_reference():
    results = [result("far", 0, density=0.95), result("near", 0, density=0.7)]
    assert best(rows(results), "density") == ["far"]
    results[0]["reference"] = {"density": 0.6, "coverage": 0.8}
    results[1]["reference"] = {"density": 0.8, "coverage": None}
    table = rows(results)
    assert best(table, "density") == ["near"]
    assert references(table) == {"density": pytest.approx(0.7), "coverage": 0.8}


@pytest.mark.parametrize(
    "change", [{"data_fingerprint": "other"}, {"model": {"likelihood": {"gaussian": 0.5}}}], ids=["data", "likelihood"]
)
def test_what_rests_on_different_data_is_not_ranked(change):
    results = [result(arm, seed, nll=seed + 10.0 * (arm == "b") + 0.01 * seed) for arm in "ab" for seed in (0, 1)]
    for one in results:
        one["run"] = {"data_fingerprint": "same", "model": {"likelihood": None}, "data": {"name": "digits"}}
    results[2]["metrics"]["nll"]["value"] -= 0.001
    table = rows(results)
    assert unranked(table) == ""
    assert (best(table, "nll"), table[1].cells["nll"].difference.marked) == (["a"], True)
    for one in results[2:]:
        one["run"] |= change
        one["reference"] = {"density": 0.7}
    table = rows(results)
    assert "cannot be ranked (a: digits same with the likelihood of the data; b: digits" in unranked(table)
    assert not any(cell.best or cell.difference for row in table for cell in row.cells.values())
    assert [row.cells["nll"].mean for row in table] == [pytest.approx(0.505), pytest.approx(10.5045)]
    assert references(table) == {}


def test_heavy_tails_in_any_run_mark_the_likelihood():
    results = [result("a", seed, nll=1.0, kl=1.0) for seed in (0, 1)]
    assert not rows(results)[0].cells["nll"].loose
    for key in ("nll", "kl"):
        results[1]["metrics"][key]["flags"] = ["effective samples: 3", "Pareto k above 0.7 for 18% of examples"]
    cells = rows(results)[0].cells
    assert (cells["nll"].loose, cells["kl"].loose) == (True, False)


@pytest.mark.parametrize(("low", "high", "crossed"), [(1.0, 2.0, False), (2.0, 1.9, True), (1.001, 1.0, False)])
def test_crossed_bounds_are_ordered(low, high, crossed):
    (row,) = rows([result("a", 0, mi_lower=low, mi_upper=high)])
    assert row.crossed is crossed
    assert [f"{cell.mean:.2f}" for cell in row.bracket] == sorted(f"{x:.2f}" for x in (low, high))


def test_missing_runs_and_values_are_shown_as_such():
    results = [result("a", 0, nll=1.0), result("a", 1, nll=math.inf), result("b", 1, nll=None)]
    table = rows(results, ["a", "b", "c"], [0, 1])
    assert [row.progress for row in table] == ["2 of 2 seeds", "1 of 2 seeds", "0 of 2 seeds"]
    assert [row.complete for row in table] == [True, False, False]
    assert [row.cells["nll"].n for row in table] == [1, 0, 0]
    assert [row.cells["nll"].mean for row in table] == [1.0, None, None]
    assert [row.verdict for row in table] == ["healthy", "healthy", None]


@pytest.mark.parametrize(
    ("words", "verdict", "agreement"),
    [
        (["healthy"] * 3, "healthy", ""),
        (["healthy", "collapsed", "healthy"], "healthy", "2 of 3"),
        (["healthy", "collapsed"], "collapsed", "1 of 2"),
        (["undetermined", "healthy"], "undetermined", "1 of 2"),
        (["undetermined", "partial collapse"], "partial collapse", "1 of 2"),
        (["partial collapse", "prior hole"], "partial collapse", "1 of 2"),
    ],
)
def test_the_majority_speaks_and_ties_go_to_the_worse(words, verdict, agreement):
    (row,) = rows([result("a", seed, word) for seed, word in enumerate(words)])
    assert (row.verdict, row.agreement) == (verdict, agreement)


def test_differences_are_paired_with_the_baseline_by_seed():
    results = [result("a", seed, nll=10.0 * seed) for seed in (0, 1, 2)]
    results += [result("b", seed, nll=10.0 * seed + gap) for seed, gap in ((0, -1.0), (1, -1.1), (2, -0.9))]
    a, b = rows(results)
    assert a.cells["nll"].difference is None
    assert b.cells["nll"].difference.mean == pytest.approx(-1.0)
    assert b.cells["nll"].difference.marked  # though the spread between seeds is ten times the difference
    assert rows(results, baseline="b")[0].cells["nll"].difference.mean == pytest.approx(1.0)


def test_ceilings_stand_beside(study):
    header, results = study()
    by_arm = {row.arm: row for row in rows(results, header["arms"])}
    assert by_arm["plain VAE"].critic_ceiling is None
    assert by_arm["self critic"].critic_ceiling == pytest.approx(math.log(128))
    assert by_arm["self critic"].ceiling == pytest.approx(math.log(360))


def test_two_results_for_one_cell_are_refused():
    with pytest.raises(BadInput, match="one result for method 'a' and seed 0"):
        rows([result("a", 0), result("a", 0)])


def test_numbers_for_people():
    assert [show(x) for x in (-0.001, 12345.678, -3.0, None, math.nan)] == ["0.00", "12345.7", "−3.00", "–", "–"]
    assert [show(x, sign=True) for x in (1.0, -1.0, 0.001)] == ["+1.00", "−1.00", "0.00"]


def test_a_column_without_any_value_is_not_shown_where_it_need_not_be():
    low = {"nll": 1.0, "kl": 1.0, "mi_lower": 1.0, "mi_upper": 1.0, "active_units": 1.0}
    text = rows([result("low", 0, perplexity=90.0, **low), result("high", 0, **low)])
    keys = [column.key for column in visible(text)]
    assert "perplexity" in keys
    assert not {"density", "coverage", "probe", "knn"} & set(keys)
    assert "nll" in [column.key for column in visible(rows([result("empty", 0)]))]
