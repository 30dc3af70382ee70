"""The page of a plan."""

import re

from uncollapse.report.planning import LOST, USEFUL, build, states, stretches, write
from uncollapse.study.planning import Costs, Failures, Storage, forecast

COSTS = [Costs("plain <script>", 600.0, 60.0, 2.0, 10), Costs("critic", 700.0, 60.0, 2.0, 10)]
STORAGE = Storage({"result.json": 12_000.0, "weights.safetensors": 2e6}, 5.0, 8e6)
FAILURES = Failures(mtbf=2.0, start=5.0, write=0.2)


def plans(counts=(1, 64, 1024), runs=2000):
    return [forecast(COSTS, runs, count, FAILURES) for count in counts]


def test_the_page_says_what_was_planned_and_loads_nothing(tmp_path):
    found = plans()
    text = write("a & b", COSTS, STORAGE, FAILURES, found, tmp_path / "plan.html").read_text()
    assert "a &amp; b" in text
    assert "<script>" not in text
    assert "2,000 runs" in text
    assert "1,024" in text
    assert text.count("<svg role=") == 4
    assert "4.02 GB" in text  # what is kept
    assert "default-src 'none'" in text
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    assert "mathdefault" not in text
    assert build("a & b", COSTS, STORAGE, FAILURES, found) == text


def test_one_run_on_one_worker_without_weights_and_failures_has_a_page_too():
    one = [forecast(COSTS, 1, 1)]
    text = build("one", COSTS, Storage({"result.json": 9.0}, 1.0, 0.0), Failures(), one)
    assert "1 run: " in text
    assert "No worker fails" in text
    assert "The weights are not in this folder" in text


def test_the_picture_shows_work_failures_and_waiting():
    plan = forecast(COSTS, 300, 6, FAILURES)
    table = states(plan)
    assert len(table) == 6
    share = sum(state == USEFUL for line in table for state in line) / sum(map(len, table))
    assert any(state == LOST for line in table for state in line)
    assert 0.6 < share <= 1
    assert stretches([0, 1, 1, 2, 1], 1) == [(1, 2), (4, 1)]
