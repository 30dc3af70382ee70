import math

import pytest
from scipy import stats

from uncollapse.report.pairs import difference, student_quantile


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 8, 9, 29, 30])
@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_quantile_equals_scipy(df, share):
    assert student_quantile(df, share) == pytest.approx(stats.t.ppf(0.5 + share / 2, df), rel=1e-9)


def test_difference_equals_the_paired_t_test():
    arm, base = {0: 3.0, 1: 3.4, 2: 2.9, 7: 3.3}, {0: 1.0, 1: 1.1, 2: 1.3, 7: 1.2, 9: 50.0}
    found = difference(arm, base)
    seeds = [0, 1, 2, 7]
    test = stats.ttest_rel([arm[s] for s in seeds], [base[s] for s in seeds])
    low, high = test.confidence_interval(0.95)
    assert (found.low, found.high, found.n) == (pytest.approx(low), pytest.approx(high), 4)
    assert found.mean / found.se == pytest.approx(test.statistic)
    assert found.marked == (test.pvalue < 0.05)


@pytest.mark.parametrize(("gap", "marked"), [(0.5, False), (0.05, True)])
def test_two_seeds_are_marked_only_where_the_wide_interval_excludes_zero(gap, marked):
    found = difference({0: 3.0, 1: 3.0 + gap}, {0: 1.0, 1: 1.0})
    assert found.high - found.low == pytest.approx(2 * 12.7062 * gap / 2, rel=1e-4)
    assert found.marked is marked


def test_one_pair_has_no_error_and_equal_pairs_are_not_marked():
    assert difference({0: 3.0}, {0: 1.0}) == (2.0, None, None, None, 1, False)
    equal = difference({0: 16.0, 1: 17.0}, {0: 1.0, 1: 2.0})
    assert (equal.mean, equal.se, equal.marked) == (15.0, 0.0, False)
    assert difference({0: 1.0}, {1: 1.0}) is None


def test_marks_err_as_often_as_they_promise():
    rng = __import__("numpy").random.default_rng(0)
    draws = rng.normal(size=(4000, 2, 3))
    wrong = sum(difference(dict(enumerate(a)), dict(enumerate(b))).marked for a, b in draws)
    assert wrong / 4000 == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / 4000))
