"""`uncollapse data`: list, show, check and fetch as a user meets them."""

import hashlib
import json
import sys

import pytest
from typer.testing import CliRunner

from uncollapse.cli import app
from uncollapse.data import load
from uncollapse.data.catalogue import SOURCES
from uncollapse.data.source import Remote, Source
from uncollapse.errors import BadInput, Interrupted

TEXT = "".join(f"word{k} word{k % 7}\n" for k in range(40)).encode()


@pytest.fixture
def source(monkeypatch, tmp_path):
    """Puts a data set of one file of the server into the catalogue."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("UNCOLLAPSE_DATA", str(tmp_path))

    def read(seed=0, data_dir=None):
        return load(SOURCES["it"].find(data_dir) / "it.txt")

    def put(url="https://example.org"):
        remote = Remote(f"{url}/it.txt", "it.txt", hashlib.sha256(TEXT).hexdigest(), len(TEXT))
        made = Source("it", "a test", (0,), (0, 0, 0), read, ("it",), (("it.txt",),), (remote,), stands_in_for="that")
        monkeypatch.setitem(SOURCES, "it", made)
        return tmp_path / "it" / "it.txt"

    return put


def run(*words, code=0):
    done = CliRunner().invoke(app, ["data", *map(str, words)])
    assert done.exit_code == code, done.output
    return done.stdout


def failed(kind, *words):
    done = CliRunner().invoke(app, ["data", *map(str, words)])
    assert isinstance(done.exception, kind), done.output
    return str(done.exception)


def test_list_says_what_is_at_hand_and_what_stands_in(source):
    path = source()
    rows = {row["name"]: row for row in json.loads(run("list", "--json"))}
    assert rows["it"]["present"] is False
    assert rows["yahoo-held-out"]["stands_in_for"] == "yahoo"
    assert rows["digits"]["present"] is True
    line = next(line for line in run("list").splitlines() if " it " in line)
    assert "can be fetched" in line
    assert "that" in line
    path.parent.mkdir()
    path.write_bytes(TEXT)
    assert " yes " in next(line for line in run("list").splitlines() if " it " in line)


def test_show(source):
    path = source()
    shown = run("show", "it")
    assert "uncollapse data fetch it" in shown
    assert str(path.parent) in shown
    assert "as many as the files hold" in shown
    found = json.loads(run("show", "it", "--json"))
    assert found["remote"][0]["sha256"] == hashlib.sha256(TEXT).hexdigest()
    assert found["folder"] is None
    assert "CC BY 4.0" in run("show", "digits")
    assert "nowhere" in run("show", "digits")
    assert "its prepare_data.py" in run("show", "yahoo")
    assert "mean 'mnist'" in failed(BadInput, "show", "mnits")


def test_check(source):
    path = source()
    assert "data fetch it" in failed(BadInput, "check", "it")
    path.parent.mkdir()
    path.write_bytes(TEXT)
    shown = run("check", "it")
    assert "as published" in shown
    assert shown.splitlines()[-1] == "sound"
    path.write_bytes(b"\0" + TEXT)
    assert "damaged: line 1 of" in run("check", "it", code=1)
    report = json.loads(run("check", "it", "--json", code=1))
    assert "zero byte" in report["problem"]
    assert report["files"][0]["origin"] == "differs from the published file"
    assert json.loads(run("check", path, "--json", code=1))["name"] == str(path)
    assert BadInput.exit_code == 2
    failed(BadInput, "check", "nothing-of-the-kind")


def test_fetch(source, serving):
    with serving({"/it.txt": TEXT}) as server:
        path = source(server.url)
        assert f"{path}: {len(TEXT):,} bytes, as published" in run("fetch", "it")
        assert json.loads(run("fetch", "it", "--json")) == [str(path)]
        path.write_bytes(b"mine")
        assert "--replace" in failed(BadInput, "fetch", "it")
        run("fetch", "it", "--replace")
    assert path.read_bytes() == TEXT
    assert "sound" in run("check", "it")


def test_ctrl_c_says_that_the_part_is_kept(source, serving, monkeypatch):
    def stop(handler, number):
        handler.piece(TEXT, end=100)
        return number == 0

    def pressed(seconds):
        raise KeyboardInterrupt

    with serving({"/it.txt": TEXT}, stop) as server:
        path = source(server.url)
        with monkeypatch.context() as patch:
            patch.setattr(sys.modules["uncollapse.data.download"].time, "sleep", pressed)
            assert "what came is kept, run the same command" in failed(Interrupted, "fetch", "it")
        assert path.with_name("it.txt.part").read_bytes() == TEXT[:100]
        server.mood = None
        run("fetch", "it")
        assert server.asked[-1] == ("/it.txt", "bytes=100-")
    assert path.read_bytes() == TEXT
