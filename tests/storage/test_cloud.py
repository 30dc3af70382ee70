"""A study in a store: any worker resumes any run, and the copy of a reader holds what is there."""

import json
import time
import uuid
from contextlib import suppress

import pytest

from uncollapse.claim import Sightings, try_claim
from uncollapse.errors import WorkFailed
from uncollapse.storage import at, cloud, mirror
from uncollapse.storage.mirror import Mirror


@pytest.fixture
def address(tmp_path, monkeypatch):
    """A fresh study in a store, with the caches and scratch folders of this test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cloud.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(mirror, "EVERY", 0.05)
    return f"memory://{uuid.uuid4().hex}/study"


def claimed(place, run="run"):
    return try_claim(place.shelf(run), Sightings())


def wait_for(what, seconds=10):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_what_changes_in_the_workshop_is_put_and_the_next_one_finds_it(address):
    place = at(address)
    claim = claimed(place)
    with suppress(KeyboardInterrupt), place.workshop("run", claim) as folder:
        (folder / "checkpoint.safetensors").write_bytes(b"1")
        wait_for(lambda: place.bucket.has("run/checkpoint.safetensors"))
        (folder / "checkpoint.safetensors").write_bytes(b"22")
        (folder / "checkpoint.previous.safetensors").write_bytes(b"1")
        (folder / "tensorboard").mkdir()
        (folder / "tensorboard" / "events").write_bytes(b"e")
        (folder / ".draft.part").mkdir()
        (folder / ".draft.part" / "x").write_bytes(b"x")
        raise KeyboardInterrupt
    claim.release()
    assert not folder.exists()
    assert {name for name in place.bucket.find() if "claim-" not in name} == {
        "run/checkpoint.safetensors", "run/tensorboard/events"
    }  # fmt: skip
    other = at(address)
    claim = claimed(other)
    with other.workshop("run", claim) as folder:
        assert (folder / "checkpoint.safetensors").read_bytes() == b"22"
        assert (folder / "tensorboard" / "events").read_bytes() == b"e"
        (folder / "weights.safetensors").write_bytes(b"w")
        assert other.finish("run", claim, folder, "{}")
        assert not other.finish("run", claim, folder, "second")
    claim.release()
    assert other.bucket.read("run/result.json") == "{}"
    assert other.bucket.read("run/weights.safetensors") == "w"
    assert not other.bucket.has("run/checkpoint.safetensors")


def test_files_are_put_in_the_order_in_which_they_were_written(address, tmp_path, monkeypatch):
    place = at(address)
    one = Mirror(place.bucket.below("run"), tmp_path / "scratch", claimed(place))
    one.folder.mkdir()
    for name in ("z", "a", "m"):
        (one.folder / name).write_text(name)
        time.sleep(0.01)
    put = []
    monkeypatch.setattr(type(one.bucket), "put", lambda self, file, name: put.append(name))
    one.push()
    one.push()
    assert put == ["z", "a", "m"]


def test_nothing_is_put_once_the_claim_is_lost(address, tmp_path):
    place = at(address)
    claim = claimed(place)
    place.shelf("run").create(f"claim-{claim.number + 1:08d}.json", json.dumps({"host": "node7", "pid": 3}))
    claim.renew()
    with place.workshop("run", claim) as folder:
        (folder / "x").write_text("x")
    assert not place.bucket.has("run/x")


def test_a_store_out_of_reach_is_waited_for(address, monkeypatch):
    place = at(address)
    genuine, refused = type(place.bucket).put, []

    def put(self, file, name):
        if len(refused) < 3:
            refused.append(name)
            raise OSError("no route")
        genuine(self, file, name)

    monkeypatch.setattr(type(place.bucket), "put", put)
    claim = claimed(place)
    with place.workshop("run", claim) as folder:
        (folder / "x").write_text("x")
    assert place.bucket.read("run/x") == "x"
    assert len(refused) == 3
    refused.clear()
    monkeypatch.setattr(mirror, "PATIENCE", 0.0)
    with pytest.raises(WorkFailed, match="run again to go on"), place.workshop("run", claim) as folder:
        (folder / "y").write_text("y")
    claim.release()


def test_a_reader_s_copy_follows_the_store(address):
    place, writer = at(address), at(address).bucket
    writer.write("study.yaml", "name: x")
    writer.write("run/state.json", "{}")
    writer.write("run/log.jsonl", "x" * 20_000 + "\nend")
    writer.write("run/checkpoint.safetensors", "large")
    writer.write("run/tensorboard/events", "large")
    place.refresh()
    have = {path.relative_to(place.folder).as_posix() for path in place.folder.rglob("*") if path.is_file()}
    assert have == {".stamps", "study.yaml", "run/state.json", "run/log.jsonl"}
    assert (place.folder / "run/log.jsonl").read_text().endswith("\nend")
    assert (place.folder / "run/log.jsonl").stat().st_size == cloud.TAIL
    date = (place.folder / "study.yaml").stat().st_mtime_ns
    writer.write("run/state.json", '{"step": 1}')
    writer.write("run/result.json", "{}")
    place.refresh()
    assert (place.folder / "run/state.json").read_text() == '{"step": 1}'
    assert (place.folder / "run/result.json").exists()
    assert (place.folder / "study.yaml").stat().st_mtime_ns == date
    writer.remove("run/result.json")
    place.refresh()
    assert not (place.folder / "run/result.json").exists()
    (place.folder / ".stamps").write_text("{half")
    place.refresh()
    assert (place.folder / "study.yaml").read_text() == "name: x"


def test_a_damaged_result_is_moved_aside(address):
    place = at(address)
    place.write("run", "result.json", "{half")
    assert place.result("run").read_text() == "{half"
    place.set_aside("run")
    assert not place.result("run").exists()
    assert place.bucket.read("run/result.json.damaged") == "{half"
