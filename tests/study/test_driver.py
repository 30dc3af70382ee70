"""The driver: what others have is waited for or taken over, what died is started again."""

import json
import threading
import time
from concurrent.futures import Future

import pytest

from uncollapse.claim import Folder, Sightings, chain, owners, try_claim
from uncollapse.store import write_json
from uncollapse.study import runner
from uncollapse.study.jobs import plan, survey
from uncollapse.study.runner import run_study


class Pretending:
    """Leaves a result without work; what its script says of a run happens first."""

    name = "pretending"

    def __init__(self, **script):
        self.script, self.seen = script, []

    def submit(self, work, task):
        self.seen.append((task.name, task.silent))
        future = Future()
        todo = self.script.get("every", [])
        said = todo.pop(0) if todo else {"state": "done", "note": ""}
        if isinstance(said, Exception):
            future.set_exception(said)
        else:
            if said["state"] == "done":
                folder = runner.at(task.place).folder / task.name
                write_json(folder / "result.json", {"format": 1})
            future.set_result(said)
        return future

    def died(self, error):
        return isinstance(error, ConnectionError)


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(runner, "LOOK", 0.1)


HELD = {"state": "held", "note": "process 1 on node7"}


def test_what_another_does_is_waited_for(tiny, tmp_path):
    job = plan(tiny, tmp_path)[0]
    other = try_claim(Folder(job.folder), Sightings())

    def ends():
        write_json(job.folder / "result.json", {"format": 1})
        other.release()

    threading.Timer(1.0, ends).start()
    engine = Pretending(every=[HELD])
    shown = []
    jobs = run_study(tiny, tmp_path, engine, watch=lambda jobs: shown.append(jobs[0].state))
    assert [one.state for one in jobs] == ["done"] * 4
    assert "elsewhere" in shown
    assert [name for name, _ in engine.seen].count(job.folder.name) == 1


def test_what_another_lets_go_is_taken(tiny, tmp_path):
    job = plan(tiny, tmp_path)[0]
    other = try_claim(Folder(job.folder), Sightings())
    threading.Timer(0.5, other.release).start()
    engine = Pretending(every=[HELD])
    assert [one.state for one in run_study(tiny, tmp_path, engine)] == ["done"] * 4
    assert [name for name, _ in engine.seen].count(job.folder.name) == 2


def test_what_a_dead_machine_left_is_taken_after_its_lease(tiny, tmp_path):
    job = plan(tiny, tmp_path)[0]
    job.folder.mkdir(parents=True)
    record = {"token": "x", "host": "node7", "pid": 12, "started": "1", "place": "other boot", "lease": 0.6, "at": 1.0}
    (job.folder / chain.title(4)).write_text(json.dumps(record))
    engine, began = Pretending(every=[HELD]), time.monotonic()
    assert [one.state for one in run_study(tiny, tmp_path, engine)] == ["done"] * 4
    assert time.monotonic() - began > 0.6
    assert engine.seen[-1] == (job.folder.name, 4)


def test_a_run_whose_worker_dies_is_started_three_times(tiny, tmp_path):
    engine = Pretending(every=[ConnectionError(), {"state": "done", "note": ""}])
    assert [one.state for one in run_study(tiny, tmp_path / "a", engine)] == ["done"] * 4
    deaths = [{"state": "done", "note": ""}] * 3 + [ConnectionError()] * 3
    jobs = run_study(tiny, tmp_path / "b", Pretending(every=deaths))
    assert [one.state for one in jobs] == ["done", "done", "done", "failed"]
    assert jobs[3].note == "its worker died 3 times"
    assert plan(tiny, tmp_path / "b")[3].note == jobs[3].note


def test_a_worker_that_gets_further_may_die_as_often_as_it_likes(tiny, tmp_path):
    job = plan(tiny, tmp_path)[0]
    steps = iter(range(1, 100))

    class Dying(Pretending):
        def submit(self, work, task):
            if task.name == job.folder.name:
                write_json(job.folder / "state.json", {"step": next(steps)})
            return super().submit(work, task)

    deaths = [ConnectionError()] * 10
    jobs = run_study(tiny, tmp_path, Dying(every=[*deaths[:1], *[{"state": "done", "note": ""}] * 3, *deaths[1:]]))
    assert [one.state for one in jobs] == ["done"] * 4


def test_a_worker_that_a_scheduler_stopped_is_started_again(tiny, tmp_path):
    engine = Pretending(every=[{"state": "interrupted", "note": "interrupted; run again to resume"}])
    assert [one.state for one in run_study(tiny, tmp_path, engine)] == ["done"] * 4
    assert len(engine.seen) == 5


def test_a_worker_that_dies_under_an_engine_that_does_not_say_so(tiny, tmp_path):
    class Deaf(Pretending):
        deaf = True

        def submit(self, work, task):
            folder = tmp_path / task.name
            if folder.exists():
                future = Future()
                done = super().submit(work, task)
                threading.Timer(1.0, lambda: future.set_result(done.result())).start()  # it waits for its turn
                return future
            write_json(folder / "fit.json", {})
            record = {"host": "x", "pid": 2**22 + 1, "started": "1", "place": owners.place(), "lease": 60, "at": 1.0}
            write_json(folder / chain.title(1), record)
            return Future()

    engine = Deaf()
    assert [one.state for one in run_study(tiny, tmp_path, engine)] == ["done"] * 4
    assert len(engine.seen) == 4


def test_a_worker_that_cannot_work_fails_its_run(tiny, tmp_path):
    jobs = run_study(tiny, tmp_path, Pretending(every=[ImportError("no module named torch")]))
    assert jobs[0].state == "failed"
    assert jobs[0].note == "ImportError: no module named torch"


def test_a_place_out_of_reach_is_tried_again_for_a_while(tiny, tmp_path, monkeypatch):
    away = {"state": "away", "note": "cannot reach s3"}
    assert [one.state for one in run_study(tiny, tmp_path / "a", Pretending(every=[away]))] == ["done"] * 4
    monkeypatch.setattr(runner, "AWAY", -1)
    jobs = run_study(tiny, tmp_path / "b", Pretending(every=[away]))
    assert (jobs[0].state, jobs[0].note) == ("failed", "cannot reach s3")


def test_a_study_that_was_started_is_surveyed_without_its_data(tiny, tmp_path, monkeypatch):
    run_study(tiny, tmp_path, Pretending())
    from uncollapse.study import jobs

    monkeypatch.setattr(jobs, "plan", None)
    assert [job.state for job in survey(tiny, tmp_path)] == ["done"] * 4
