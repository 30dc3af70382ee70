"""Downloads from a server on this machine: whole, cut, changed, refused."""

import errno
import hashlib
import shutil
import sys
from collections import namedtuple

import numpy as np
import pytest

from uncollapse.data.download import check_address, download, is_known, part_of, sha256_of
from uncollapse.data.source import Remote
from uncollapse.errors import BadInput, WorkFailed

BODY = np.random.default_rng(0).bytes(700_001)
MODULE = sys.modules[download.__module__]


def remote_of(server, body=BODY, path="/it.bin"):
    return Remote(server.url + path, "it.bin", hashlib.sha256(body).hexdigest(), len(body))


def test_plain(tmp_path, serving):
    seen = []
    with serving({"/it.bin": BODY}) as server:
        target = download(remote_of(server), tmp_path / "new" / "it.bin", lambda *words: seen.append(words), pause=1e9)
        assert target.read_bytes() == BODY
        assert not part_of(target).exists()
        assert download(remote_of(server), target) == target
        assert server.asked == [("/it.bin", None)]
    assert [word[0] for word in seen] == ["it.bin"] * len(seen)
    assert [word[1] for word in seen] == sorted(word[1] for word in seen)
    assert seen[-1][1:] == (len(BODY), len(BODY))
    assert sha256_of(target) == hashlib.sha256(BODY).hexdigest()


def test_resumed_after_a_cut(tmp_path, serving):
    def cut(handler, number):
        if number < 2:
            handler.piece(BODY, end=(number + 1) * 200_000)
        return number < 2

    with serving({"/it.bin": BODY}, cut) as server:
        target = download(remote_of(server), tmp_path / "it.bin", pause=0.0)
        assert target.read_bytes() == BODY
        assert [asked for _, asked in server.asked] == [None, "bytes=200000-", "bytes=400000-"]


def test_a_part_of_an_earlier_run_is_gone_on_with(tmp_path, serving):
    target = tmp_path / "it.bin"
    part_of(target).write_bytes(BODY[:300_000])
    with serving({"/it.bin": BODY}) as server:
        assert download(remote_of(server), target).read_bytes() == BODY
        assert server.asked == [("/it.bin", "bytes=300000-")]


@pytest.mark.parametrize("part", [BODY, BODY + b"more", b"x" * 300_000, b"x" * len(BODY)])
def test_a_part_that_is_whole_too_long_or_of_another_file(tmp_path, part, serving):
    target = tmp_path / "it.bin"
    part_of(target).write_bytes(part)
    with serving({"/it.bin": BODY}) as server:
        assert download(remote_of(server), target).read_bytes() == BODY
        assert len(server.asked) == (part != BODY) + (part == b"x" * 300_000)
    assert not part_of(target).exists()


def test_a_server_that_ignores_ranges(tmp_path, serving):
    target = tmp_path / "it.bin"
    part_of(target).write_bytes(BODY[:300_000])

    def ignoring(handler, number):
        handler.piece(BODY, end=500_000 if number == 0 else None, ranges=False)
        return True

    with serving({}, ignoring) as server:
        assert download(remote_of(server), target, pause=0.0).read_bytes() == BODY
        assert [asked for _, asked in server.asked] == ["bytes=300000-", "bytes=500000-"]


def test_a_server_that_always_breaks_off(tmp_path, serving):
    target = tmp_path / "it.bin"

    def cut(handler, number):
        handler.piece(BODY, end=100_000)
        return True

    with serving({}, cut) as server:
        with pytest.raises(WorkFailed, match=r"broke off after 100000 of 700001 bytes in 3 attempts.*same command"):
            download(remote_of(server), target, attempts=3, pause=0.0)
        assert len(server.asked) == 3
    assert part_of(target).read_bytes() == BODY[:100_000]
    assert not target.exists()


def test_a_truncated_file_that_says_so(tmp_path, serving):
    with (
        serving({"/it.bin": BODY[:-1]}) as server,
        pytest.raises(WorkFailed, match="expected 700001 bytes, but the server announces 700000"),
    ):
        download(remote_of(server), tmp_path / "it.bin")


def test_a_tampered_file_is_named_and_not_kept(tmp_path, serving):
    tampered = BODY[:50] + bytes([BODY[50] ^ 1]) + BODY[51:]
    target = tmp_path / "it.bin"
    expected, got = (hashlib.sha256(body).hexdigest() for body in (BODY, tampered))
    with serving({"/it.bin": tampered}) as server:
        with pytest.raises(WorkFailed, match=f"expected SHA-256 {expected}, got {got}"):
            download(remote_of(server), target)
        assert list(tmp_path.iterdir()) == []
        part_of(target).write_bytes(BODY[:9])
        with pytest.raises(WorkFailed, match=got):
            download(remote_of(server), target)
    assert list(tmp_path.iterdir()) == []


def test_a_longer_file_without_its_length_is_not_taken(tmp_path, serving):
    def endless(handler, number):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(BODY + BODY)
        return True

    with serving({}, endless) as server, pytest.raises(WorkFailed, match="more than 700001 bytes"):
        download(remote_of(server), tmp_path / "it.bin")
    assert part_of(tmp_path / "it.bin").stat().st_size == 0


def test_a_good_file_is_never_damaged(tmp_path, serving):
    target = tmp_path / "it.bin"
    target.write_bytes(b"mine")
    with serving({"/it.bin": b"!" * len(BODY)}) as server, pytest.raises(WorkFailed):
        download(remote_of(server), target)
    assert target.read_bytes() == b"mine"


@pytest.mark.parametrize(("code", "requests"), [(404, 1), (403, 1), (503, 3), (429, 3)])
def test_what_the_server_refuses(tmp_path, code, requests, serving):
    def refuse(handler, number):
        handler.send_error(code)
        return True

    with serving({}, refuse) as server:
        with pytest.raises(WorkFailed, match=f"server says {code}"):
            download(remote_of(server), tmp_path / "it.bin", attempts=3, pause=0.0)
        assert len(server.asked) == requests


def test_no_server(tmp_path, serving):
    with serving({}) as server:
        remote = remote_of(server)
    with pytest.raises(WorkFailed, match=r"in 2 attempts .*refused"):
        download(remote, tmp_path / "it.bin", attempts=2, pause=0.0)


@pytest.mark.parametrize(
    "url", ["http://example.org/x", "ftp://127.0.0.1/x", "file:///etc/passwd", "x", "", "http://127.0.0.1.evil.org/x"]
)
def test_only_https(tmp_path, url):
    with pytest.raises(BadInput, match="https only"):
        download(Remote(url, "x", "0" * 64, 1), tmp_path / "x")
    check_address("https://example.org/x")


@pytest.mark.parametrize("place", ["http://example.org/it.bin", "file:///etc/passwd"])
def test_a_redirection_must_be_safe_too(tmp_path, place, serving):
    def elsewhere(handler, number):
        if number == 0:
            handler.send_response(302)
            handler.send_header("Location", place)
            handler.end_headers()
        return number == 0

    with serving({}, elsewhere) as server, pytest.raises((BadInput, WorkFailed)):
        download(remote_of(server), tmp_path / "it.bin", pause=0.0)
    place_here = {"/other": BODY}

    def here(handler, number):
        if handler.path == "/it.bin":
            handler.send_response(302)
            handler.send_header("Location", "/other")
            handler.end_headers()
            return True
        return False

    with serving(place_here, here) as server:
        assert download(remote_of(server), tmp_path / "it.bin").read_bytes() == BODY


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch, serving):
    usage = namedtuple("usage", "total used free")
    with serving({"/it.bin": BODY}) as server:
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1))
            with pytest.raises(WorkFailed, match="needs 700001 more bytes, but the disk has 1 free"):
                download(remote_of(server), tmp_path / "it.bin")
        assert server.asked == []

        def full(answer, remote, file, have, progress):
            with MODULE.disk(tmp_path):
                raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(MODULE, "receive", full)
        with pytest.raises(WorkFailed, match="is full"):
            download(remote_of(server), tmp_path / "it.bin")


def test_a_folder_that_cannot_be_written(tmp_path, serving):
    (tmp_path / "file").write_text("")
    with serving({"/it.bin": BODY}) as server, pytest.raises(WorkFailed, match="cannot write"):
        download(remote_of(server), tmp_path / "file" / "it.bin")


def test_ctrl_c_leaves_a_part_to_go_on_with(tmp_path, serving):
    def stop(file, done, total):
        raise KeyboardInterrupt

    target = tmp_path / "it.bin"
    with serving({"/it.bin": BODY}) as server:
        with pytest.raises(KeyboardInterrupt):
            download(remote_of(server), target, stop)
        have = part_of(target).stat().st_size
        assert 0 < have < len(BODY)
        assert download(remote_of(server), target).read_bytes() == BODY
        assert server.asked[1] == ("/it.bin", f"bytes={have}-")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")
def test_two_at_a_time(tmp_path, serving):
    import fcntl

    target = tmp_path / "it.bin"
    with part_of(target).open("ab") as held, serving({"/it.bin": BODY}) as server:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(WorkFailed, match="another process"):
            download(remote_of(server), target)
        assert server.asked == []


def test_known(tmp_path):
    remote = Remote("https://x/y", "y", hashlib.sha256(b"abc").hexdigest(), 3)
    path = tmp_path / "y"
    assert not is_known(path, remote)
    for body, known in ((b"abc", True), (b"abd", False), (b"abcd", False)):
        path.write_bytes(body)
        assert is_known(path, remote) == known
