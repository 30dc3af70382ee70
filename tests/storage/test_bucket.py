"""Files of a store: whole, made once, listed fresh; and addresses that nobody knows."""

import threading
import uuid

import pytest

from uncollapse.claim import Claim, Sightings, top, try_claim
from uncollapse.errors import BadInput
from uncollapse.storage import at, is_address
from uncollapse.storage.bucket import Bucket, reaching


@pytest.fixture
def bucket():
    return Bucket(f"memory://{uuid.uuid4().hex}/study")


def test_files_in_and_out(bucket, tmp_path):
    bucket.write("a/x.json", "1")
    (tmp_path / "big").write_bytes(b"12345678")
    bucket.put(tmp_path / "big", "a/big")
    assert set(bucket.find()) == {"a/x.json", "a/big"}
    assert sorted(bucket.below("a").names()) == ["big", "x.json"]
    assert bucket.tail("a/big", 3) == b"678"
    bucket.get("a/big", tmp_path / "new" / "big")
    assert (tmp_path / "new" / "big").read_bytes() == b"12345678"
    assert bucket.read("a/x.json") == "1"
    assert bucket.read("a/none") is None
    assert bucket.has("a/big")
    bucket.remove("a/big")
    bucket.remove("a/big")
    assert not bucket.has("a/big")
    assert Bucket(f"memory://{uuid.uuid4().hex}").find() == {}


def test_names_that_lead_out_of_a_folder_are_not_listed(bucket):
    for name in ("x", "../y", "a/../../y", "a//y", "./y", "a\\..\\y"):
        bucket.fs.store[f"{bucket.root}/{name}"] = bucket.fs.store.get("no") or made(bucket, name)
    assert set(bucket.find()) == {"x"}


def made(bucket, name):
    """An object of that very name; the file system itself would tidy it up."""
    from fsspec.implementations.memory import MemoryFile

    return MemoryFile(bucket.fs, f"{bucket.root}/{name}", b"1")


def test_a_stamp_changes_with_the_file(bucket):
    bucket.write("x", "1")
    before = bucket.find()["x"]
    assert bucket.find()["x"] == before
    bucket.write("x", "2")
    assert bucket.find()["x"] != before


def test_a_file_is_made_once(bucket):
    assert bucket.create("claim", "first")
    assert not bucket.create("claim", "second")
    assert bucket.read("claim") == "first"
    bucket.check()
    assert list(bucket.find()) == ["claim"]


def test_a_store_that_overwrites_is_refused(bucket, monkeypatch):
    monkeypatch.setattr(Bucket, "create", lambda self, name, text: self.write(name, text) or True)
    with pytest.raises(BadInput, match="overwrites in spite of If-None-Match"):
        bucket.check()


def test_claims_lie_in_a_store_as_on_a_disk(bucket):
    shelf = bucket.below("run")
    first = try_claim(shelf, Sightings(), 0.3)
    assert isinstance(first, Claim)
    assert not isinstance(try_claim(shelf, Sightings()), Claim)
    number = first.number
    while first.number == number:
        threading.Event().wait(0.02)
    first.release()
    second = try_claim(shelf, Sightings())
    assert isinstance(second, Claim)
    assert second.number > number + 1
    assert len(shelf.names()) == 1
    second.release()
    assert top(shelf)[1]["released"]


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("ftp://host/x", "mount what else there is as a folder"),
        ("gs://bucket/x", "needs a package that is not installed"),
    ],
)
def test_other_addresses_are_refused_in_a_sentence(address, says):
    with pytest.raises(BadInput, match=says):
        at(address)


def test_what_is_an_address():
    assert is_address("s3://a/b")
    assert not is_address("C:\\runs")
    assert at("file:///tmp/x").name == "/tmp/x"


def test_errors_of_every_library_are_errors_of_the_system():
    with pytest.raises(OSError, match="cannot reach s3://b: no route"), reaching("s3://b"):
        raise RuntimeError("no route")
    with pytest.raises(FileNotFoundError), reaching("s3://b"):
        raise FileNotFoundError
