"""Lines of files that may hold anything."""

import gzip
import tracemalloc

import pytest

from uncollapse.data import lines
from uncollapse.data.lines import lines_of, read_lines, text_of
from uncollapse.errors import BadInput


@pytest.mark.parametrize("zipped", [False, True])
def test_lines_without_their_ends(tmp_path, zipped):
    raw = b"\xef\xbb\xbfa b\r\n\n c \nlast"
    path = tmp_path / "x.txt"
    path.write_bytes(gzip.compress(raw) if zipped else raw)
    assert list(read_lines(path)) == [b"a b", b"", b" c ", b"last"]


def test_a_line_without_end_takes_little_memory(tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"a" * 50_000_000))
    tracemalloc.start()
    with pytest.raises(BadInput, match=r"line 1 of .* more than 1048576 bytes"):
        list(read_lines(path))
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_an_absurd_gzip_stops_at_the_limit(tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"\n" * 3_000_000))
    with pytest.raises(BadInput, match="more than the 1000000 bytes"):
        for _ in read_lines(path, max_bytes=1_000_000):
            pass


def test_too_many_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "MAX_LINES", 3)
    (tmp_path / "x.txt").write_bytes(b"\n" * 3)
    assert len(list(read_lines(tmp_path / "x.txt"))) == 3
    (tmp_path / "x.txt").write_bytes(b"\n" * 4)
    with pytest.raises(BadInput, match="more than the 3 lines"):
        list(read_lines(tmp_path / "x.txt"))


def test_a_line_of_the_longest_length_passes(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes(b"abcd\nabc\n")
    assert list(read_lines(path, max_line=5)) == [b"abcd", b"abc"]
    with pytest.raises(BadInput, match="line 1"):
        list(read_lines(path, max_line=4))


def test_damage_is_one_sentence(tmp_path):
    path, whole = tmp_path / "x.gz", gzip.compress(b"a b c\n" * 10_000)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match="damaged gzip"):
        list(read_lines(path))
    path.write_bytes(whole[:-8] + b"\0" * 8)
    with pytest.raises(BadInput, match="damaged gzip"):
        list(read_lines(path))
    path.write_bytes(whole[:12] + bytes(60) + whole[72:])
    with pytest.raises(BadInput, match="damaged gzip"):
        list(read_lines(path))
    path.write_bytes(b"a\nb\0c\n")
    with pytest.raises(BadInput, match=r"line 2 of .* zero byte"):
        list(read_lines(path))
    with pytest.raises(BadInput, match=r"cannot read .*none"):
        list(read_lines(tmp_path / "none"))
    with pytest.raises(BadInput, match="cannot read"):
        list(read_lines(tmp_path))


def test_open_files_and_text():
    import io

    assert list(lines_of(io.BytesIO(b"a\nb"), "it")) == [b"a", b"b"]
    assert text_of("é".encode(), "it") == "é"
    with pytest.raises(BadInput, match="line 3 is not UTF-8"):
        text_of(b"\xff", "line 3")
