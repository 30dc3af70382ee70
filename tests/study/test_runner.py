"""Studies: skipped when done, resumed when half done, unbroken by a killed worker, never half written."""

import json
import os
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest

from uncollapse.errors import BadInput, WorkFailed
from uncollapse.store import write_json
from uncollapse.study import build as building
from uncollapse.study.engines import local_engine
from uncollapse.study.runner import plan, run_study
from uncollapse.study.work import execute, finished


class Here:
    """An engine that does the work at once, in this process."""

    name = "here"

    def __init__(self):
        self.done = []

    def submit(self, work, task):
        future = Future()
        self.done.append(task.name)
        future.set_result(work(task))
        return future

    def died(self, error):
        return False


class Pretending(Here):
    """Leaves a result file without any work."""

    def submit(self, work, task):
        write_json(Path(task.place) / task.name / "result.json", {"format": 1})
        future = Future()
        future.set_result({"state": "done", "note": ""})
        return future


def without_times(result):
    return {key: value for key, value in result.items() if key not in {"seconds", "sha256"}}


def test_a_study_runs_once_and_is_then_skipped(tiny, tmp_path):
    first, second = Here(), Here()
    jobs = run_study(tiny, tmp_path, first)
    assert [job.state for job in jobs] == ["done"] * 4
    assert len(set(first.done)) == 4
    before = {job.folder: (job.folder / "result.json").read_bytes() for job in jobs}
    run_study(tiny, tmp_path, second)
    assert second.done == []
    assert all((folder / "result.json").read_bytes() == content for folder, content in before.items())
    result = json.loads((jobs[1].folder / "result.json").read_text())
    assert result["arm"] == "critic"
    assert set(result["metrics"]) >= {
        "nll",
        "kl",
        "mi_lower",
        "mi_upper",
        "active_units",
        "density",
        "coverage",
        "probe",
    }
    assert result["critic_ceiling"] == pytest.approx(4.158883)
    assert len(result["history"]) == 3
    assert not (jobs[1].folder / "checkpoint.safetensors").exists()
    assert result["sources"]


def test_a_finished_study_is_not_built_again_but_a_new_arm_is(tiny, tmp_path, monkeypatch):
    run_study(tiny, tmp_path, Here())
    dates = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    built, build = [], building.build
    monkeypatch.setattr(building, "build", lambda run, data: built.append(run.arm) or build(run, data))
    assert [job.state for job in run_study(tiny, tmp_path, Here())] == ["done"] * 4
    assert built == []
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == dates
    more = replace(tiny, arms=[*tiny.arms, replace(tiny.arms[1], name="again")])
    assert [job.state for job in plan(more, tmp_path)] == ["done", "done", "waiting"] * 2
    assert built == ["again"]
    with pytest.raises(BadInput, match="arm 'x': there is no remedy 'Btea'; did you mean Beta"):
        plan(replace(tiny, arms=[*tiny.arms, replace(tiny.arms[1], name="x", remedies=["Btea"])]), tmp_path)


@pytest.mark.parametrize("text", ["{half", "", "[]", '{"format": "1"}', '{"format": 1, "sha256": "0"}'])
def test_a_damaged_result_of_a_finished_study_is_found_and_done_again(tiny, tmp_path, text):
    jobs = run_study(tiny, tmp_path, Pretending())
    assert [job.state for job in plan(tiny, tmp_path)] == ["done"] * 4
    (jobs[2].folder / "result.json").write_text(text)
    found = plan(tiny, tmp_path)
    assert [job.state for job in found] == ["done", "done", "damaged", "done"]
    assert jobs[2].folder.name in found[2].note
    again = run_study(tiny, tmp_path, Here())
    assert [job.tries for job in again] == [0, 0, 1, 0]
    assert [job.state for job in plan(tiny, tmp_path)] == ["done"] * 4
    assert (jobs[2].folder / "result.json.damaged").read_text() == text
    assert "an earlier result was damaged" in finished(jobs[2].folder)["remarks"][0]


def test_an_engine_without_work_starts_no_process():
    with local_engine(2) as engine:
        pass
    assert engine.pools == []


def test_the_same_run_gives_the_same_result(tiny, tmp_path):
    run = tiny.runs()[1]
    a, b = (execute(run, tmp_path / name) for name in "ab")
    assert {**without_times(a), "hash": ""} == {**without_times(b), "hash": ""}


def test_a_bad_study_is_refused_before_any_work(tiny, tmp_path):
    for wrong in (
        replace(tiny, arms=[*tiny.arms, replace(tiny.arms[1], name="x", remedies=["SelfCritc"])]),
        replace(tiny, arms=[replace(tiny.arms[1], remedies=[{"SelfCritic": {"wieght": 1}}])]),
        replace(tiny, arms=[replace(tiny.arms[1], remedies=[{"FreeBits": {"floor": -1}}])]),
        replace(tiny, data="digit"),
        replace(tiny, data={"name": "digits", "colour": "red"}),
        replace(tiny, model=replace(tiny.model, encoder="mpl")),
    ):
        with pytest.raises(BadInput) as raised:
            run_study(wrong, tmp_path / "study", Here())
        assert "\n" not in str(raised.value)
    assert not (tmp_path / "study").exists()


def test_a_failed_run_does_not_stop_the_others(tiny, tmp_path):
    jobs = plan(tiny, tmp_path)
    jobs[0].folder.mkdir(parents=True)
    (jobs[0].folder / "fit.json").write_text('{"owner": "somebody else"}')
    jobs = run_study(tiny, tmp_path, Here())
    assert [job.state for job in jobs] == ["failed", "done", "done", "done"]
    assert "other settings" in jobs[0].note
    assert plan(tiny, tmp_path)[0].state == "failed"
    (jobs[0].folder / "fit.json").unlink()
    assert [job.state for job in run_study(tiny, tmp_path, Here())] == ["done"] * 4
    assert plan(tiny, tmp_path)[0].state == "done"


def test_a_result_of_a_newer_version_is_said_and_not_overwritten(tiny, tmp_path):
    newer = '{"format": 99, "versions": {"uncollapse": "7.0"}}'
    jobs = run_study(tiny, tmp_path, Pretending())
    (jobs[1].folder / "result.json").write_text(newer)
    assert [job.state for job in plan(tiny, tmp_path)] == ["done", "failed", "done", "done"]
    again = run_study(tiny, tmp_path, Here())
    assert [job.state for job in again] == ["done", "failed", "done", "done"]
    assert "has format 99 and was written by uncollapse 7.0" in again[1].note
    assert (jobs[1].folder / "result.json").read_text() == newer
    (tmp_path / "result.json").write_text("{half")
    with pytest.raises(WorkFailed, match="damaged"):
        finished(tmp_path)


HANDS = """
import os, pathlib, signal
def die_once(folder, value):
    mark = pathlib.Path(folder) / "died"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return value
def plus_one(value):
    return value + 1
"""


@pytest.fixture
def hands(tmp_path, monkeypatch):
    """A module that workers, which are fresh processes, can import."""
    (tmp_path / "hands_of_workers.py").write_text(HANDS)
    monkeypatch.syspath_prepend(tmp_path)
    return __import__("hands_of_workers")


def test_a_killed_worker_breaks_nothing_else(hands, tmp_path):
    with local_engine(2) as engine:
        others = [engine.submit(hands.plus_one, number) for number in range(4)]
        victim = engine.submit(hands.die_once, str(tmp_path), 7)
        assert engine.died(victim.exception())
        assert [future.result() for future in others] == [1, 2, 3, 4]
        assert engine.submit(hands.die_once, str(tmp_path), 7).result() == 7


def test_the_environment_of_workers_is_put_back():
    before = os.environ.get("OMP_NUM_THREADS")
    with local_engine(1) as engine:
        assert engine.submit(os.getenv, "OMP_NUM_THREADS").result() == "1"
    assert os.environ.get("OMP_NUM_THREADS") == before
