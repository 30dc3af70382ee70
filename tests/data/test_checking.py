"""What a check says of sound, damaged, changed and unknown files."""

import gzip
import hashlib
import struct

import numpy as np
import pytest

from uncollapse.data import check, load
from uncollapse.data.catalogue import SOURCES
from uncollapse.data.source import Remote, Source
from uncollapse.errors import BadInput

TEXT = "".join(f"word{k} word{k % 7}\n" for k in range(40)).encode()


@pytest.fixture
def source(monkeypatch, tmp_path):
    """A data set of one file, with a known hash."""

    def read(seed=0, data_dir=None):
        return load(SOURCES["it"].find(data_dir) / "it.txt")

    remote = Remote("https://example.org/it.txt", "it.txt", hashlib.sha256(TEXT).hexdigest(), len(TEXT))
    made = Source("it", "a test", (0,), (0, 0, 0), read, ("it",), (("it.txt.gz", "it.txt"),), (remote,))
    monkeypatch.setitem(SOURCES, "it", made)
    (tmp_path / "it").mkdir()
    return tmp_path / "it" / "it.txt"


def test_a_sound_set(source, tmp_path):
    source.write_bytes(TEXT)
    report = check("it", tmp_path)
    assert report.problem == ""
    assert report.verdict == "sound"
    (file,) = report.files
    assert (file.path, file.size, file.origin) == (source, len(TEXT), "as published")
    assert file.sha256 == hashlib.sha256(TEXT).hexdigest()
    assert report.found["examples"] == "32 to train, 4 to validate, 4 to test"
    assert report.found["shape"] == "3"
    assert report.found["words"] == "64, 8, 8"
    assert report.found["longest"] == "2 words"
    assert "values" not in report.found


def test_packed_anew_and_changed(source, tmp_path):
    source.write_bytes(TEXT + b"one more\n")
    report = check("it", tmp_path)
    assert report.files[0].origin == "differs from the published file"
    assert report.verdict == "readable, but 1 of 1 files differ from the published ones"
    packed = source.with_name("it.txt.gz")
    source.write_bytes(TEXT)
    packed.write_bytes(gzip.compress(TEXT))
    assert [file.origin for file in check("it", tmp_path).files] == ["published content, packed anew", "as published"]
    packed.write_bytes(gzip.compress(TEXT * 2))
    assert check("it", tmp_path).files[0].origin == "differs from the published file"


def test_damaged(source, tmp_path):
    source.write_bytes(TEXT[:50] + b"\xff\xfe" + TEXT[50:])
    report = check("it", tmp_path)
    assert "not UTF-8" in report.problem
    assert report.verdict.startswith("damaged: line")
    assert report.files[0].origin == "differs from the published file"


def test_a_path(tmp_path):
    path = tmp_path / "mine.npy"
    np.save(path, np.random.default_rng(0).random((50, 2, 3)).astype(np.float32))
    report = check(path)
    assert report.name == "mine"
    assert report.found["shape"] == "1 x 2 x 3"
    assert report.found["values"].startswith("0")
    assert report.files[0].origin == "no published hash is known"
    path.write_bytes(path.read_bytes()[:-3])
    assert "cut short" in check(path).problem or "has only" in check(path).problem


def test_an_idx_file(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(bytes([0, 0, 8, 3]) + struct.pack(">3I", 2, 3, 4) + bytes(range(24)))
    report = check(path)
    assert report.found == {"kind": "IDX", "shape": "2 x 3 x 4", "stored as": "uint8", "values": "0 to 23"}
    path.write_bytes(path.read_bytes()[:-1])
    assert "announces 2 x 3 x 4" in check(path).problem


def test_what_is_not_there(tmp_path, monkeypatch):
    monkeypatch.delenv("UNCOLLAPSE_DATA", raising=False)
    for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "cache"))
    with pytest.raises(BadInput, match="mean 'mnist'"):
        check("mnits")
    with pytest.raises(BadInput, match="ptb was not found"):
        check("ptb", tmp_path)
    (tmp_path / "x.docx").write_bytes(b"")
    with pytest.raises(BadInput, match=r"\.npz"):
        check(tmp_path / "x.docx")
    assert check("digits").verdict == "sound"
    assert check("digits").files == ()
