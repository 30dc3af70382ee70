"""What a worker does with a run: one at a time, resumed by whoever comes, published once."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from uncollapse.claim import Claim, Folder, Sightings, chain, try_claim
from uncollapse.storage import at
from uncollapse.study.attempts import TRIES, attempts, fruitless
from uncollapse.study.jobs import plan, state_of
from uncollapse.study.task import Task, do
from uncollapse.study.work import execute
from uncollapse.study.worker import work_through


@pytest.fixture
def one(tiny, tmp_path):
    """The first run of the study as a task."""
    job = plan(tiny, tmp_path)[0]
    return Task(job.run, str(tmp_path), job.folder.name, job.fingerprint)


def claim(folder):
    found = try_claim(Folder(folder), Sightings())
    assert isinstance(found, Claim)
    return found


def test_a_run_is_done_once_and_its_attempt_is_on_record(one, tmp_path):
    assert do(one) == {"state": "done", "note": ""}
    result = (tmp_path / one.name / "result.json").read_bytes()
    assert do(one) == {"state": "done", "note": ""}
    assert (tmp_path / one.name / "result.json").read_bytes() == result
    (attempt,) = attempts(tmp_path / one.name)
    assert attempt["outcome"] == "published"
    assert attempt["start"] == 0
    assert attempt["pid"] == os.getpid()


def test_a_run_that_another_has_is_left_alone(one, tmp_path):
    other = claim(tmp_path / one.name)
    assert do(one) == {"state": "held", "note": f"process {os.getpid()} on {os.uname().nodename}"}
    other.release()
    assert do(one)["state"] == "done"


def test_the_first_result_that_is_published_stays(one, tmp_path):
    place, folder = at(tmp_path), tmp_path / one.name
    held = claim(folder)
    assert place.finish(one.name, held, folder, "first")
    assert not place.finish(one.name, held, folder, "second")
    assert (folder / "result.json").read_text() == "first"
    held.release()


def test_who_lost_the_claim_publishes_nothing(one, tmp_path, monkeypatch):
    genuine = Claim.check

    def stolen(self, now=False):
        if now:  # just before publishing: another made the next file of the chain while this one slept
            Folder(tmp_path / one.name).create(chain.title(self.number + 1), '{"host": "node7", "pid": 12}')
        genuine(self, now)

    monkeypatch.setattr(Claim, "check", stolen)
    outcome = do(one)
    assert outcome["state"] == "held"
    assert "taken over by process 12 on node7" in outcome["note"]
    assert not (tmp_path / one.name / "result.json").exists()
    assert attempts(tmp_path / one.name)[0]["outcome"] == "lost"
    monkeypatch.undo()
    assert state_of(tmp_path / one.name)[0] == "half done"


def test_other_data_on_the_worker_s_machine_are_refused(one, tmp_path):
    outcome = do(replace(one, fingerprint="another"))
    assert outcome["state"] == "failed"
    assert "the data digits on this machine are not those of the study" in outcome["note"]
    assert json.loads((tmp_path / one.name / "failed.json").read_text())["error"] == outcome["note"]
    assert do(one)["state"] == "done"
    assert not (tmp_path / one.name / "failed.json").exists()


def test_an_error_of_no_kind_of_ours_fails_the_run_and_not_the_worker(one, tmp_path, monkeypatch):
    from uncollapse.study import work

    monkeypatch.setattr(work, "measure", lambda *a, **k: 1 / 0)
    assert do(one) == {"state": "failed", "note": "ZeroDivisionError: division by zero"}


def test_a_run_that_kills_its_workers_again_and_again_is_given_up(one, tmp_path):
    folder = tmp_path / one.name
    folder.mkdir()
    for number in range(TRIES):
        record = {"number": number, "token": f"t{number}", "start": 0, "outcome": ""}
        (folder / f"attempt-t{number}.json").write_text(json.dumps(record))
    assert fruitless(folder, 0) == TRIES
    assert fruitless(folder, 10) == 0
    outcome = do(one)
    assert outcome["note"] == f"its worker died {TRIES} times without getting beyond step 0"
    (folder / "attempt-t3.json").write_text('{"half')
    assert do(one)["state"] == "done"


def test_a_silent_claim_that_the_driver_watched_is_taken_over_at_once(one, tmp_path):
    folder = tmp_path / one.name
    folder.mkdir()
    record = {"token": "x", "host": "node7", "pid": 12, "started": "1", "place": "other boot", "lease": 60, "at": 1.0}
    (folder / chain.title(4)).write_text(json.dumps(record))
    assert do(one)["state"] == "held"
    assert do(replace(one, silent=3))["state"] == "held"
    assert do(replace(one, silent=4))["state"] == "done"


def test_plain_workers_share_a_study(tiny, tmp_path):
    """Two processes and a third that is killed; every run is published once, with the bits of a run by hand."""
    study = tmp_path / "study.yaml"
    from uncollapse.study.config import dump_study

    longer = replace(tiny, fit={**tiny.fit, "batches": 200, "validate_every": 50, "checkpoint_every": 10})
    study.write_text(dump_study(longer))
    shared = tmp_path / "shared"
    words = [sys.executable, "-m", "uncollapse.cli", "study", "work", str(study), "--out", str(shared), "--lease", "3"]
    victim = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 100
    while not any(shared.glob("*/state.json")):  # written after the first checkpoint
        assert time.monotonic() < deadline
        assert victim.poll() is None
        time.sleep(0.01)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    other = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    jobs = work_through(longer, shared, lease=3)
    assert other.wait() == 0
    assert [job.state for job in jobs] == ["done"] * 4
    tried = {job.folder.name: attempts(job.folder) for job in jobs}
    assert all([one["outcome"] for one in several].count("published") == 1 for several in tried.values())
    first = [several for several in tried.values() if several[0]["pid"] == victim.pid]
    assert [[one["outcome"] for one in several] for several in first] == [["", "published"]]
    assert first[0][1]["start"] > 0
    by_hand = execute(jobs[0].run, tmp_path / "by hand" / jobs[0].folder.name)
    shared_result = json.loads((jobs[0].folder / "result.json").read_text())
    assert shared_result["sha256"] == by_hand["sha256"]
    assert (jobs[0].folder / "weights.safetensors").read_bytes() == (
        tmp_path / "by hand" / jobs[0].folder.name / "weights.safetensors"
    ).read_bytes()
