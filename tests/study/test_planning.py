"""Plans: what files and results say of costs, what forecasts make of them."""

import json
import math
import os
import time

import pytest

from uncollapse.errors import BadInput
from uncollapse.study.planning import Costs, Failures, Storage, forecast, measured, write_seconds


def finished(folder, name, fit, measure, setup=0.5, **more):
    """A run folder with dates as a run leaves them."""
    place = folder / name
    (place / "tensorboard").mkdir(parents=True)
    (place / "tensorboard" / "events").write_bytes(b"x" * 300)
    (place / "weights.safetensors").write_bytes(b"x" * 1000)
    (place / "run.json").write_text("{}")
    result = {"hash": name, "arm": "a", "seconds": {"fit": fit, "measure": measure}, "steps": 100, **more}
    (place / "result.json").write_text(json.dumps(result))
    now = time.time()
    os.utime(place / "run.json", (now, now))
    os.utime(place / "result.json", (now + setup + fit + measure,) * 2)
    return result


def test_costs_and_files_are_read_off_a_study(tmp_path):
    results = [
        finished(tmp_path, "one", 10.0, 2.0, history=[{}] * 5),
        finished(tmp_path, "two", 20.0, 4.0, run={"fit": {"checkpoint_every": 30}}),
    ]
    costs, storage = measured(tmp_path, results)
    assert [(one.fit, one.measure, one.checkpoints) for one in costs] == [(10.0, 2.0, 5), (20.0, 4.0, 4)]
    assert costs[0].stages == [2.0] * 5 + [2.0]
    assert all(one.setup == pytest.approx(0.5, abs=0.01) for one in costs)
    assert storage.kept["weights.safetensors"] == 1000
    assert storage.kept["tensorboard"] == 300
    assert storage.files == 4
    assert storage.checkpoint == 4000
    assert storage.peak(runs=10, workers=4) == pytest.approx(10 * storage.run + 4 * 3 * 4000)


def test_dates_that_tell_nothing_are_left_out(tmp_path):
    results = [finished(tmp_path, "copy", 10.0, 2.0, setup=-12.0), finished(tmp_path, "resumed", 10.0, 2.0, setup=9e4)]
    assert [one.setup for one in measured(tmp_path, results)[0]] == [0.0, 0.0]
    (tmp_path / "copy" / "run.json").unlink()
    assert measured(tmp_path, results)[0][0].setup == 0.0


def test_results_without_times_are_said(tmp_path):
    with pytest.raises(BadInput, match="says how long it took"):
        measured(tmp_path, [{"hash": "x", "arm": "a"}, {"hash": "y", "seconds": {"fit": "long"}}])
    with pytest.raises(BadInput, match="at least one run"):
        forecast([Costs("a", 1.0, 1.0)], 0, 1)


def test_a_forecast_without_failures_keeps_the_bounds_and_takes_every_cost_equally_often():
    costs = [Costs("a", 8.0, 2.0, checkpoints=4), Costs("b", 28.0, 2.0, checkpoints=7)]
    one = forecast(costs, 100, 1)
    assert one.seconds == one.low == one.high == one.undisturbed == pytest.approx(50 * 10 + 50 * 30)
    many = forecast(costs, 100, 16)
    assert many.bounds[0] <= many.seconds <= many.bounds[1]
    assert (many.failures, many.lost, many.given_up, many.interval) == (0, 0, 0, math.inf)
    assert many.utilisation == pytest.approx(2000 / 16 / many.undisturbed, rel=0.1)


def test_failures_cost_time_and_checkpoints_save_it():
    failures = Failures(mtbf=1.0, start=10.0, write=0.5)
    kept = forecast([Costs("a", 1800.0, 60.0, checkpoints=60)], 200, 8, failures)
    lost = forecast([Costs("a", 1800.0, 60.0, checkpoints=1)], 200, 8, failures)
    assert kept.undisturbed < kept.seconds < lost.seconds
    assert kept.lost < lost.lost / 5
    assert kept.failures > 50
    assert kept.interval == pytest.approx(60.0)  # sqrt(2 * 0.5 * 3600)
    assert kept.low <= kept.seconds <= kept.high


def test_the_same_seed_gives_the_same_plan():
    failures = Failures(mtbf=1.0, start=10.0)
    a, b = (forecast([Costs("a", 600.0, 60.0, 1.0, 10)], 50, 4, failures) for _ in range(2))
    assert (a.seconds, a.failures, a.lost) == (b.seconds, b.failures, b.lost)


def test_writing_is_measured(tmp_path):
    assert 0 < write_seconds(100_000, tmp_path) < 10
    assert list(tmp_path.iterdir()) == []
    assert Storage({}, 0.0, 0.0).run == 0
