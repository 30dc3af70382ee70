"""Fetching a data set by name."""

import hashlib
from pathlib import Path

import pytest

from uncollapse.data import fetch, load
from uncollapse.data.catalogue import SOURCES
from uncollapse.data.fetch import target_of
from uncollapse.data.source import Remote, Source
from uncollapse.errors import BadInput, WorkFailed

TEXT = {f"/it.{part}.txt": "".join(f"{part} word{k}\n" for k in range(30)).encode() for part in ("train", "test")}


@pytest.fixture
def source(monkeypatch):
    """Puts a data set of the server's files into the catalogue."""

    def put(server, **changed):
        remote = tuple(
            Remote(server.url + path, path[1:], hashlib.sha256(body).hexdigest(), len(body))
            for path, body in TEXT.items()
        )
        settings = {"folders": ("it", "It"), "files": (("it.train.txt",), ("it.test.txt",)), "remote": remote} | changed
        made = Source("it", "a test", (0,), (0, 0, 0), load, **settings)
        monkeypatch.setitem(SOURCES, "it", made)
        return made

    return put


def test_all_files_come_and_only_what_is_missing_is_asked_for(tmp_path, serving, source):
    with serving(TEXT) as server:
        made = source(server)
        assert not made.present(tmp_path)
        files = fetch("it", tmp_path)
        assert [file.read_bytes() for file in files] == list(TEXT.values())
        assert made.find(tmp_path) == tmp_path / "it"
        fetch("it", tmp_path)
        assert len(server.asked) == 2
        files[1].unlink()
        seen = []
        fetch("it", tmp_path, lambda *words: seen.append(words))
        assert [path for path, _ in server.asked[2:]] == ["/it.test.txt"]
        assert seen == [("it.test.txt", len(TEXT["/it.test.txt"]), len(TEXT["/it.test.txt"]))]
    assert load(files[0]).name == "it.train"


def test_a_users_own_file_is_not_replaced_unasked(tmp_path, serving, source):
    mine = tmp_path / "it" / "it.test.txt"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    with serving(TEXT) as server:
        source(server)
        with pytest.raises(BadInput, match=r"it\.test\.txt is there, but is not the published file \(4 bytes"):
            fetch("it", tmp_path)
        assert server.asked == []
        assert mine.read_bytes() == b"mine"
        fetch("it", tmp_path, replace=True)
        assert mine.read_bytes() == TEXT["/it.test.txt"]


def test_a_tampered_file_leaves_the_users_own(tmp_path, serving, source):
    mine = tmp_path / "it" / "it.train.txt"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    with serving({path: body[::-1] for path, body in TEXT.items()}) as server:
        source(server)
        with pytest.raises(WorkFailed, match="SHA-256"):
            fetch("it", tmp_path, replace=True)
    assert [path.read_bytes() for path in mine.parent.iterdir()] == [b"mine"]


def test_what_cannot_be_fetched(tmp_path, serving, source):
    with pytest.raises(BadInput, match="needs no file"):
        fetch("digits")
    with pytest.raises(BadInput, match=r"yahoo cannot be downloaded from here; .*yahoo-held-out can be fetched"):
        fetch("yahoo", tmp_path)
    with pytest.raises(BadInput, match="mean 'mnist'"):
        fetch("mnis", tmp_path)
    with serving(TEXT) as server:
        source(server, remote=(), by_hand="ask its author")
        with pytest.raises(BadInput, match=r"ask its author; put it\.train\.txt, it\.test\.txt into .*it"):
            fetch("it", tmp_path)


def test_where_files_go(tmp_path, monkeypatch, serving, source):
    with serving(TEXT) as server:
        made = source(server)
        assert target_of(made, tmp_path) == tmp_path / "it"
        (tmp_path / "It").mkdir()
        assert target_of(made, tmp_path) == tmp_path / "It"
        assert target_of(made, tmp_path / "It") == tmp_path / "It"
        monkeypatch.setenv("UNCOLLAPSE_DATA", str(tmp_path / "everything"))
        assert target_of(made) == tmp_path / "everything" / "it"
        fetch("it")
    assert Path(tmp_path / "everything" / "it" / "it.train.txt").is_file()
