"""Verdicts from made-up seeds, both ways, at the cap, and with one seed."""

import math

import pytest
from scipy.stats import t

from uncollapse.errors import BadInput
from uncollapse.protocols.claims import judge, measured
from uncollapse.protocols.spec import Claim, Part


def seeds(result, arm, values, **more):
    return [result(arm, seed, lower=value, **more) for seed, value in enumerate(values)]


def word(part, results, computed=None):
    return judge(Claim("it is so", [part]), results, computed).word


def test_interval_is_students_over_paired_differences(result):
    ours, base = [3.0, 3.6, 4.5], [1.0, 1.9, 2.0]
    found = measured(
        Part("mi_lower", arm="a", minus="b", at_least=0), seeds(result, "a", ours) + seeds(result, "b", base)
    )
    gaps = [x - y for x, y in zip(ours, base, strict=True)]
    mean = sum(gaps) / 3
    half = t.ppf(0.975, 2) * math.sqrt(sum((g - mean) ** 2 for g in gaps) / 2) / math.sqrt(3)
    assert found.mean == pytest.approx(mean)
    assert (found.low, found.high) == pytest.approx((mean - half, mean + half))


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"at_least": 2.5}, "holds"), ({"at_least": 3.5}, "does not hold"), ({"at_least": 3.01}, "cannot be told"),
        ({"at_most": 3.5}, "holds"), ({"at_most": 2.5}, "does not hold"), ({"at_most": 2.99}, "cannot be told"),
        ({"near": 3.1, "within": 0.5}, "holds"), ({"near": 4, "within": 0.5}, "does not hold"),
        ({"near": 2, "within": 0.5}, "does not hold"), ({"near": 3.5, "within": 0.5}, "cannot be told"),
    ],
)  # fmt: skip
def test_interval_wholly_inside_wholly_outside_or_neither(result, condition, expected):
    assert word(Part("mi_lower", arm="a", **condition), seeds(result, "a", [2.95, 3.0, 3.05])) == expected


def test_pairing_by_seed_sees_what_unpaired_means_do_not(result):
    runs = seeds(result, "a", [1.1, 5.1, 9.1]) + seeds(result, "b", [1.0, 5.0, 9.0])
    assert word(Part("mi_lower", arm="a", minus="b", at_least=0.05), runs) == "holds"


def test_only_seeds_that_both_have_count(result):
    runs = [*seeds(result, "a", [3.0, 3.1]), result("b", 1, lower=1.0)]
    assert measured(Part("mi_lower", arm="a", minus="b", at_least=0), runs).n == 1


def test_one_seed_cannot_tell(result):
    judged = judge(Claim("it is so", [Part("mi_lower", arm="a", at_least=0)]), [result("a", 0, lower=9.0)])
    assert judged.word == "cannot be told"
    assert "one seed" in judged.reasons[0]


def test_one_value_of_an_exact_computation_can(result):
    computed = {"rows": {"x": {"kl": 2.0}}, "quantities": {"worst": 1e-5, "noisy": {"value": 1.0, "se": 0.5}}}
    assert word(Part("worst", at_most=1e-3), [], computed) == "holds"
    assert word(Part("kl", arm="x", at_least=3), [], computed) == "does not hold"
    assert word(Part("noisy", at_least=0.5), [], computed) == "cannot be told"


def test_nothing_measured_cannot_tell(result):
    judged = judge(Claim("it is so", [Part("knn", arm="a", at_least=0)]), seeds(result, "a", [1.0, 1.1]))
    assert (judged.word, "no run" in judged.reasons[0]) == ("cannot be told", True)


def test_legacy_value_at_log_b_makes_what_rests_on_it_open(result):
    at_cap = [result("a", s, legacy=3.85 + s / 100) for s in range(3)] + [result("b", s, legacy=0.0) for s in range(3)]
    near = Part("legacy.mi", arm="a", minus="b", near=3.912, within=0.3)
    judged = judge(Claim("MI rises by log K", [near]), at_cap)
    assert judged.word == "cannot be told"
    assert "estimator is at its cap" in judged.reasons[0]
    below = [result("a", s, legacy=2.0 + s / 100) for s in range(3)] + [result("b", s, legacy=0.0) for s in range(3)]
    assert word(near, below) == "does not hold"


def test_saturated_bracket_is_a_floor_that_can_prove_at_least_and_nothing_else(result):
    runs = seeds(result, "a", [5.85, 5.86, 5.87], saturated=True)
    assert word(Part("mi_lower", arm="a", at_least=3), runs) == "holds"
    assert word(Part("mi_lower", arm="a", at_most=6), runs) == "cannot be told"
    assert word(Part("mi_lower", arm="a", at_most=5), runs) == "does not hold"
    assert word(Part("mi_lower", arm="a", at_least=7), runs) == "cannot be told"
    assert word(Part("mi_lower", arm="a", near=5.86, within=1), runs) == "cannot be told"


def test_a_baseline_at_its_cap_cannot_show_that_others_have_more(result):
    base = seeds(result, "b", [5.85, 5.86, 5.87], saturated=True)
    plain = seeds(result, "a", [1.0, 1.1, 1.2])
    assert word(Part("mi_lower", arm="b", minus="a", at_least=1), base + plain) == "holds"
    assert word(Part("mi_lower", arm="a", minus="b", at_most=0), base + plain) == "holds"
    both = base + seeds(result, "a", [5.88, 5.89, 5.9], saturated=True)
    assert word(Part("mi_lower", arm="a", minus="b", at_least=0), both) == "cannot be told"


def test_printed_numbers_may_be_at_their_cap(result):
    runs = [result("a", s, legacy=3.86 + s / 1000) for s in range(3)]
    assert word(Part("legacy.mi", arm="a", near=3.86, within=0.1, printed=True), runs) == "holds"
    assert word(Part("legacy.mi", arm="a", near=3.86, within=0.1), runs) == "cannot be told"


def test_ratio_and_difference_of_metrics(result):
    runs = [result(arm, s, seconds={"fit": (3.0 if arm == "a" else 1.0) + s / 100}) for arm in "ab" for s in range(3)]
    assert measured(Part("seconds.fit", arm="a", over="b", at_least=2), runs).mean == pytest.approx(2.97, abs=0.02)
    gap = Part("mi_upper", arm="a", minus_metric="mi_lower", near=1, within=0.01)
    assert measured(gap, runs).mean == pytest.approx(1.0)


def test_all_conditions_have_to_hold(result):
    runs = seeds(result, "a", [2.95, 3.0, 3.05])
    good, bad, unclear = (Part("mi_lower", arm="a", at_least=x) for x in (2, 4, 3))
    assert judge(Claim("", [good, good]), runs).word == "holds"
    assert judge(Claim("", [good, unclear]), runs).word == "cannot be told"
    assert judge(Claim("", [unclear, bad]), runs).word == "does not hold"


@pytest.mark.parametrize("wrong", [{}, {"at_least": 1, "at_most": 2}, {"near": 1}, {"near": 1, "within": -1}])
def test_a_part_has_one_condition(wrong):
    with pytest.raises(BadInput):
        Part("kl", arm="a", **wrong)


@pytest.mark.parametrize(
    ("metric", "value"),
    [("active_share", 0.5), ("legacy.mi", 1.0), ("seconds.fit", 2.0), ("history.mi_lower.first", 0.5),
     ("history.bound.last", 2.0), ("history.mi_lower.most", 1.0)],
)  # fmt: skip
def test_every_kind_of_metric_is_found(result, metric, value):
    assert measured(Part(metric, arm="a", at_least=0), seeds(result, "a", [1.0, 1.0])).mean == value


def test_noise_test_by_its_variance(result):
    run = result("a", 0, noise=[{"variance": 0.2, "value": 3.0}, {"variance": 1, "value": 7.0}])
    assert measured(Part("noise.1", arm="a", at_least=0), [run]).mean == 7.0


def test_a_floor_above_the_range_is_outside_whatever_the_truth(result):
    at_cap = seeds(result, "a", [0.0, 0.0, 0.0], legacy=3.88)
    near = Part("legacy.mi", arm="a", near=2, within=0.5)
    assert word(near, at_cap) == "does not hold"
    assert word(Part("legacy.mi", arm="a", near=6, within=0.5), at_cap) == "cannot be told"


def test_a_subtrahend_at_its_cap_makes_the_truth_lower(result):
    runs = seeds(result, "a", [0.0] * 3, legacy=1.0) + seeds(result, "b", [0.0] * 3, legacy=3.88)
    judged = judge(Claim("c", [Part("legacy.mi", arm="a", minus="b", at_least=-4)]), runs)
    assert judged.word == "cannot be told"
    assert "the truth may lie lower" in judged.reasons[0]


def test_both_errors_of_an_exact_difference_count():
    computed = {"rows": {"a": {"v": {"value": 1.0, "se": 3.0}}, "b": {"v": {"value": 0.0, "se": 4.0}}}}
    found = measured(Part("v", arm="a", minus="b", at_least=0), [], computed)
    assert (found.low, found.high) == pytest.approx((1 - 1.96 * 5, 1 + 1.96 * 5))
