"""What `study status` knows of a run from its files alone."""

import json
import os
import time

from uncollapse.claim import Folder, Sightings, chain, owners, try_claim
from uncollapse.study.jobs import Job
from uncollapse.study.status import Status, counted, left


def job_in(tiny, folder, **state):
    folder.mkdir(exist_ok=True)
    if state:
        (folder / "state.json").write_text(json.dumps(state))
    return Job(tiny.runs()[0], folder, "half done" if state else "waiting")


def test_a_run_at_work(tiny, tmp_path):
    job = job_in(tiny, tmp_path / "run", step=200, total=1000, seconds=4.0)
    claim = try_claim(Folder(job.folder), Sightings())
    (job.folder / "attempt-x.json").write_text(json.dumps({"number": 1, "engine": "ray"}))
    row = Status().row(job)
    assert (row["state"], row["step"], row["total"], row["rate"], row["eta"]) == ("running", 200, 1000, 50.0, 16.0)
    assert row["worker"] == f"{os.uname().nodename}:{os.getpid()}"
    assert (row["engine"], row["attempts"]) == ("ray", 1)
    assert 0 <= row["beat"] < 5
    claim.release()
    row = Status().row(job)
    assert (row["state"], row["beat"], row["eta"]) == ("half done", None, None)


def test_the_log_knows_more_than_the_last_checkpoint(tiny, tmp_path):
    job = job_in(tiny, tmp_path / "run", step=200, total=1000, seconds=4.0)
    (job.folder / "log.jsonl").write_text('{"step": 300, "total": 1000, "seconds": 10.0}\n{"cut')
    assert [Status().row(job)[key] for key in ("step", "rate")] == [300, 30.0]


def test_a_worker_that_is_gone_and_one_that_is_silent(tiny, tmp_path):
    job = job_in(tiny, tmp_path / "run", step=5, total=10, seconds=1.0)
    record = {
        "host": "node7",
        "pid": 2**22 + 1,
        "started": "1",
        "place": owners.place(),
        "lease": 60,
        "at": time.time(),
    }
    (job.folder / chain.title(1)).write_text(json.dumps(record))
    row = Status().row(job)
    assert (row["state"], row["note"]) == ("half done", f"its worker node7:{2**22 + 1} is gone")
    (job.folder / chain.title(2)).write_text(json.dumps({**record, "place": "other"}))
    assert Status().row(job)["state"] == "running"
    (job.folder / chain.title(3)).write_text(json.dumps({**record, "place": "other", "at": time.time() - 100}))
    assert Status().row(job)["state"] == "silent"


def test_a_clock_that_is_wrong_is_believed_once(tiny, tmp_path):
    job = job_in(tiny, tmp_path / "run", step=5, total=10, seconds=1.0)
    record = {"host": "node7", "pid": 1, "started": "1", "place": "other", "lease": 60, "at": time.time() - 1e6}
    (job.folder / chain.title(1)).write_text(json.dumps(record))
    status = Status()
    assert status.row(job)["state"] == "silent"
    (job.folder / chain.title(2)).write_text(json.dumps({**record, "at": time.time() - 1e6}))
    row = status.row(job)
    assert row["state"] == "running"
    assert row["beat"] < 1
    (job.folder / chain.title(3)).write_text(json.dumps({**record, "at": time.time() + 1e6}))
    assert Status().row(job)["beat"] < 1


def test_damaged_files_say_nothing(tiny, tmp_path):
    job = job_in(tiny, tmp_path / "run", step="x", total=None, seconds=[])
    (job.folder / chain.title(1)).write_text("{half")
    row = Status().row(job)
    assert (row["step"], row["total"], row["rate"], row["eta"]) == (0, 0, None, None)
    (job.folder / "state.json").write_text("[]")
    assert Status().row(job)["step"] == 0


def test_what_is_left():
    def row(state, step, total, rate):
        return {"state": state, "step": step, "total": total, "rate": rate}

    rows = [
        row("done", 100, 100, 5.0),
        row("running", 40, 100, 2.0),
        row("running", 60, 100, 3.0),
        row("waiting", 0, 0, None),
    ]
    assert left(rows) == (60 + 40 + 100) / 5
    assert left(rows[:1]) is None
    assert left(rows[3:]) is None
    assert counted(rows) == "1 done, 2 running, 1 waiting"
