"""Studies in a store, end to end in this process: done, resumed, read from anywhere, with the bits of one on a disk."""

import json
import uuid

import pytest

from uncollapse.cli import app
from uncollapse.errors import BadInput, WorkFailed
from uncollapse.storage import at, cloud
from uncollapse.storage.bucket import Bucket
from uncollapse.study import work, worker
from uncollapse.study.attempts import attempts
from uncollapse.study.task import Task, do
from uncollapse.study.worker import work_through


@pytest.fixture
def address(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cloud.tempfile, "gettempdir", lambda: str(tmp_path))
    return f"memory://{uuid.uuid4().hex}/study"


def test_a_study_in_a_store_is_that_on_a_disk_and_is_read_from_anywhere(tiny, address, tmp_path, monkeypatch, capsys):
    on_disk = work_through(tiny, tmp_path / "disk")
    jobs = work_through(tiny, address)
    assert [job.state for job in jobs] == ["done"] * 4
    place = at(address)
    for job, other in zip(jobs, on_disk, strict=True):
        name = job.folder.name
        assert json.loads(place.bucket.read(f"{name}/result.json"))["sha256"] == work.finished(other.folder)["sha256"]
        place.bucket.get(f"{name}/weights.safetensors", tmp_path / "weights")
        assert (tmp_path / "weights").read_bytes() == (other.folder / "weights.safetensors").read_bytes()
        assert not place.bucket.has(f"{name}/checkpoint.safetensors")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))

    def says(*words):
        app(list(words), standalone_mode=False)
        return capsys.readouterr().out

    assert [row["state"] for row in json.loads(says("study", "status", address, "--json"))] == ["done"] * 4
    assert "critic" in says("study", "table", address, "--format", "markdown")
    assert says("study", "report", address) == f"page: {address}/report.html\n"
    assert at(address).bucket.read("report.html").startswith("<!")
    says("study", "export", address, "--to", str(tmp_path / "kept"))
    assert len([*(tmp_path / "kept").rglob("result.json")]) == 4


def test_a_store_that_cannot_keep_workers_apart_is_refused_before_any_work(tiny, address, monkeypatch):
    monkeypatch.setattr(Bucket, "create", lambda self, name, text: self.write(name, text) or True)
    with pytest.raises(BadInput, match="two workers could not be kept apart"):
        work_through(tiny, address)
    assert at(address).bucket.find() == {}


def test_a_store_that_goes_away_and_comes_back_is_waited_for(tiny, address, monkeypatch):
    genuine, left = Bucket.has, [3]

    def has(self, name):
        if name.endswith("failed.json") and left[0]:
            left[0] -= 1
            raise OSError(5, "cannot reach it")
        return genuine(self, name)

    monkeypatch.setattr(Bucket, "has", has)
    monkeypatch.setattr(worker, "POLL", 0.01)
    assert [job.state for job in work_through(tiny, address)] == ["done"] * 4
    monkeypatch.setattr(worker, "AWAY", 0.0)
    left[0] = -1
    with pytest.raises(WorkFailed, match="out of reach for 0 seconds: cannot reach it; start again"):
        work_through(tiny, f"{address}2")


def test_another_machine_goes_on_where_one_was_interrupted(tiny, address, tmp_path, monkeypatch):
    from uncollapse.study.jobs import plan

    job = plan(tiny, tmp_path / "disk")[1]
    task = Task(job.run, address, job.folder.name, job.fingerprint)
    genuine = work.fit

    def stopped(*arguments, progress, **options):
        def stop(step, total, record):
            progress(step, total, record)
            if step == 17:
                raise KeyboardInterrupt

        return genuine(*arguments, progress=stop, **options)

    monkeypatch.setattr(work, "fit", stopped)
    assert do(task)["state"] == "interrupted"
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
    assert do(task)["state"] == "done"
    place = at(address)
    place.refresh()
    tried = attempts(place.folder / job.folder.name)
    assert [(one["start"], one["outcome"]) for one in tried] == [(0, "interrupted"), (10, "published")]
    by_hand = work.execute(job.run, tmp_path / job.folder.name)
    assert json.loads(place.bucket.read(f"{job.folder.name}/result.json"))["sha256"] == by_hand["sha256"]
