"""The simulated queue against closed forms: list scheduling, failures and checkpoints on one worker."""

import math
import random
from itertools import pairwise
from statistics import fmean, stdev

import pytest

from uncollapse.study.simulating import Workers, best_interval, bounds, expected_seconds, simulate


def test_without_failures_one_worker_takes_the_sum_and_more_keep_grahams_bounds():
    generator = random.Random(0)
    for _ in range(200):
        seconds = [generator.lognormvariate(0, 1) for _ in range(generator.randint(1, 60))]
        count = generator.randint(1, 12)
        found = simulate([[one] for one in seconds], Workers(count))
        low, high = bounds(seconds, count)
        assert low - 1e-9 <= found.seconds <= high + 1e-9
        assert (found.done, found.given_up, found.failures, found.lost) == (len(seconds), 0, 0, 0.0)
        assert found.useful == pytest.approx(sum(seconds))
        assert simulate([[one] for one in seconds], Workers(1)).seconds == pytest.approx(sum(seconds))


def test_equal_runs_come_in_waves():
    found = simulate([[3.0]] * 10, Workers(4, start=2.0, setup=0.5))
    assert found.seconds == pytest.approx(2 + 3 * 3.5)
    assert found.utilisation(4) == pytest.approx(30 / (4 * found.seconds))


def test_no_worker_does_two_runs_at_once_and_every_run_ends_once():
    generator = random.Random(1)
    runs = [[generator.uniform(1, 5) for _ in range(generator.randint(1, 6))] for _ in range(300)]
    found = simulate(runs, Workers(7, mtbf=20.0, start=1.0, setup=0.2, tries=1000), seed=3)
    assert found.failures > 50
    for worker in range(7):
        mine = sorted(one[:2] for one in found.busy if one[2] == worker)
        assert all(end <= begin + 1e-9 for (_, end), (begin, _) in pairwise(mine))
    ends = [one[3] for one in found.busy if one[4]]
    assert sorted(ends) == list(range(300))
    assert found.done == 300
    assert found.useful == pytest.approx(sum(map(sum, runs)))
    assert sum(end - begin for begin, end, *_ in found.busy) == pytest.approx(found.useful + found.lost + 300 * 0.2)


@pytest.mark.parametrize(("mtbf", "restart"), [(40.0, 0.0), (40.0, 5.0), (15.0, 3.0)])
def test_one_worker_with_failures_takes_dalys_expected_time(mtbf, restart):
    """A failed run is the only one in the queue, so it goes on as soon as its worker is up again."""
    stage, count = 10.0, 8
    seconds = [
        simulate([[stage] * count], Workers(1, mtbf, start=restart, tries=10**9), seed).seconds for seed in range(4000)
    ]
    first = mtbf * math.expm1(restart / mtbf)  # the first start may fail too
    expected = expected_seconds(stage, count, mtbf, restart) + first
    assert abs(fmean(seconds) - expected) < 4 * stdev(seconds) / math.sqrt(len(seconds))


def test_youngs_interval_is_the_best_of_dalys_times():
    write, mtbf, work = 0.5, 1000.0, 20_000.0
    best = best_interval(write, mtbf)

    def seconds(interval):
        return expected_seconds(interval + write, 1, mtbf, 0.0) * work / interval

    grid = [best * factor for factor in (0.25, 0.5, 0.9, 1.0, 1.1, 2.0, 4.0)]
    assert min(grid, key=seconds) in grid[2:5]


def test_a_run_without_checkpoints_is_given_up_after_its_tries_and_one_with_them_is_not():
    hopeless = simulate([[1000.0]] * 5, Workers(2, mtbf=10.0, tries=3))
    assert (hopeless.done, hopeless.given_up, hopeless.failures) == (0, 5, 15)
    kept = simulate([[0.2] * 5000] * 5, Workers(2, mtbf=10.0, tries=3))
    assert kept.done == 5


def test_a_driver_that_hands_out_slowly_is_the_limit():
    assert simulate([[0.1]] * 1000, Workers(1024, hand_out=0.02)).seconds == pytest.approx(20.1, rel=1e-6)


def test_ten_thousand_runs_on_a_thousand_workers_are_simulated_fast():
    import time

    started = time.process_time()
    found = simulate([[60.0] * 10] * 10_000, Workers(1024, mtbf=3600 * 24.0, start=5.0))
    assert found.done == 10_000
    assert time.process_time() - started < 5
