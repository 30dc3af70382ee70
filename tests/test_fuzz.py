"""The kept corpus of the fuzzers through every reader, short mutations of it, and the watchman itself."""

import os
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the harness limits memory and time as Linux does")
sys.path.insert(0, str(ROOT))

if sys.platform == "linux":
    from fuzz.attempt import Reader, attempt, scratch, warm
    from fuzz.readers import NAMED, READERS
else:
    NAMED, READERS = (), {}


@pytest.fixture(scope="module")
def folder():
    with scratch() as made:
        yield made


def inputs(name):
    kept = ROOT / "fuzz" / "corpus" / name
    return READERS[name].seeds() | {path.name: path.read_bytes() for path in sorted(kept.glob("*"))}


@pytest.mark.parametrize("name", READERS)
def test_the_kept_corpus(name, folder):
    reader = READERS[name]
    warm(reader, folder)
    wrong = {what: found for what, data in inputs(name).items() if (found := attempt(reader, data, folder))}
    assert not wrong, "\n".join(f"{what}: {found.key}\n{found.words}" for what, found in wrong.items())


@pytest.mark.parametrize("name", [name for name in READERS if name not in {"h5ad", "study"}])
def test_short_mutations(name, folder):
    """Bytes replaced, cut out and put in, by chance: what any change of any file may do."""
    reader, known = READERS[name], sorted(READERS[name].seeds().items())
    warm(reader, folder)

    @settings(max_examples=40, deadline=None, database=None, derandomize=True,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(st.data())
    def mutated(data):
        raw = bytearray(data.draw(st.sampled_from(known))[1])
        for _ in range(data.draw(st.integers(1, 4))):
            place = data.draw(st.integers(0, max(len(raw) - 1, 0)))
            raw[place : place + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
        found = attempt(reader, bytes(raw), folder)
        assert found is None, f"{found.key}\n{found.words}"

    mutated()


def test_the_corpus_is_small():
    files = [path for path in (ROOT / "fuzz" / "corpus").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 3 * 2**20
    assert max(path.stat().st_size for path in files) <= 2**16
    assert set(NAMED) <= {path.parent.name for path in files}


def nothing():
    return {"seed": b""}


def endless(data, folder):
    while True:
        zlib.crc32(data)


def writes(data, folder):
    (folder.parent / "beside").write_bytes(data)


def elsewhere(data, folder):
    Path("/tmp/made-by-a-reader").write_bytes(data)


def runs(data, folder):
    subprocess.run(["true"], check=True)


def calls(data, folder):
    os.system("true")


def quietly(data, folder):
    try:
        eval("1 + 1")
    except Exception:
        return


def looks(data, folder):
    Path("/etc/hostname").read_bytes()


def removes(data, folder):
    Path("/tmp/made-by-a-reader").unlink(missing_ok=True)


def fails(data, folder):
    return [][1]


def shouts(data, folder):
    from uncollapse.errors import BadInput

    raise BadInput("")


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (writes, "for writing|wrote outside"),
        (elsewhere, "for writing"),
        (runs, "subprocess.Popen"),
        (calls, "os.system"),
        (quietly, "exec of"),
        (looks, "read '/etc/hostname'"),
        (removes, "os.remove"),
        (fails, "IndexError in"),
        (shouts, "unclear sentence"),
    ],
)
def test_the_watchman_sees(folder, what, words):
    """A harness that finds nothing is worth nothing: each kind of misdeed is one."""
    import re

    found = attempt(Reader("bad", what, nothing), b"x", folder)
    assert found is not None
    assert re.search(words, f"{found.key} {found.words}")
    assert attempt(Reader("good", lambda data, folder: (folder / "x").write_bytes(data), nothing), b"x", folder) is None


def test_the_watchman_stops_what_hangs(folder, monkeypatch):
    monkeypatch.setattr("fuzz.attempt.SECONDS", 0.5)
    started = time.process_time()
    found = attempt(Reader("bad", endless, nothing), b"x", folder)
    assert found is not None
    assert found.key.startswith("Hang")
    assert time.process_time() - started < 5
