"""MATLAB files: what scipy writes is read alike; what is damaged or hostile is refused in a sentence."""

import math
import struct
import zlib

import numpy as np
import pytest
from scipy.io import savemat

from uncollapse.data.mat import read_mat
from uncollapse.errors import BadInput


def element(kind, data):
    return struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)


def header(version=0x0100):
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", version) + b"IM"


def matrix(shape, body, kind=6, name=b"x", flags=0):
    described = element(6, struct.pack("<II", kind | flags, 0)) + element(5, struct.pack(f"<{len(shape)}i", *shape))
    return described + element(1, name) + body


REAL = element(6, struct.pack("<II", 6, 0)) + element(7, struct.pack("<2f", math.nan, 1.0)) + element(1, b"x")


@pytest.fixture(params=[False, True], ids=["plain", "compressed"])
def written(request, tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "doubles": rng.random((3, 5)),
        "bytes": rng.integers(0, 256, (4, 3, 2, 6)).astype(np.uint8),
        "small": np.array([[1, 2]], np.uint8),
        "floats": rng.random((2, 7)).astype(np.float32),
        "signed": np.arange(-3, 3, dtype=np.int32)[None],
        "long": np.array([[2**40]]),
    }
    extra = {"names": np.array(["alpha", "be"], dtype=object), "thing": {"a": 1.0}, "wave": np.array([[1j]])}
    savemat(tmp_path / "a.mat", {**extra, **arrays}, do_compression=request.param)
    return tmp_path / "a.mat", arrays


def test_arrays_are_as_written(written):
    path, arrays = written
    found = read_mat(path, [*arrays, "absent"], ["names"])
    assert set(found) == {*arrays, "names"}
    for name, array in arrays.items():
        assert np.array_equal(found[name], array), name
        assert found[name].dtype.isnative
    assert found["names"].tolist() == ["alpha", "be"]


@pytest.mark.parametrize(("name", "words"), [("thing", "plain array"), ("wave", "real numbers")])
def test_what_is_no_plain_array_is_refused(written, name, words):
    with pytest.raises(BadInput, match=words):
        read_mat(written[0], [name])


def test_big_endian_files(tmp_path):
    numbers = np.arange(6, dtype=">f8")
    body = (
        struct.pack(">IIII", 6, 8, 6, 0) + struct.pack(">IIii", 5, 8, 2, 3) + struct.pack(">HH", 1, 1)[::1] + b"x\0\0\0"
    )
    body += struct.pack(">II", 9, 48) + numbers.tobytes()
    path = tmp_path / "big.mat"
    path.write_bytes(
        b"MATLAB".ljust(124) + struct.pack(">H", 0x0100) + b"MI" + struct.pack(">II", 14, len(body)) + body
    )
    found = read_mat(path, ["x"])["x"]
    assert np.array_equal(found, np.arange(6.0).reshape(2, 3, order="F"))
    assert found.dtype.isnative


def test_every_truncation_is_refused(written):
    path, arrays = written
    whole = path.read_bytes()
    for end in range(0, len(whole) - 8, 17):
        path.write_bytes(whole[:end])
        try:
            found = read_mat(path, [*arrays], ["names"])
        except BadInput:
            continue
        assert set(found) < {*arrays, "names"}  # cut between two elements


def test_flipped_bytes_never_escape(written):
    path, arrays = written
    whole = bytearray(path.read_bytes())
    rng = np.random.default_rng(1)
    for _ in range(300):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            read_mat(path, [*arrays, "thing"], ["names"])
        except BadInput:
            continue


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a MATLAB file"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 200, "save it with -v7"),
        (b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM", "save it with -v7"),
        (header(0x0200), "version 5"),
        (header() + element(14, matrix((2**30, 2**30), element(9, b"\0" * 8))), "more than the"),
        (header() + element(14, matrix((2, -3), element(9, b"\0" * 8))), "damaged"),
        (header() + element(14, matrix((2, 2), element(9, b"\0" * 8))), "holds 1"),
        (header() + element(14, matrix((1, 1), element(9, b"\0" * 16))), "damaged"),
        (header() + element(14, matrix((2**20, 1), b"", kind=1)), "array of numbers"),
        (header() + element(14, matrix((0, 2**30, 2**30, 2**30), element(9, b""))), "more than the"),
        (header() + element(14, REAL), "sides should be whole numbers"),
        (header() + element(15, zlib.compress(b"\0" * 4096)), "where an array should be"),
        (header() + element(15, b"no zlib at all"), "damaged"),
    ],
)
def test_absurd_files(tmp_path, content, words):
    path = tmp_path / "x.mat"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=words):
        read_mat(path, ["x"])


def test_a_list_of_texts_is_short(tmp_path):
    path = tmp_path / "x.mat"
    path.write_bytes(header() + element(14, matrix((2**20, 1), b"", kind=1)))
    with pytest.raises(BadInput, match="short list"):
        read_mat(path, [], ["x"])
    path.write_bytes(header() + element(14, matrix((1, 1), element(9, b"\0" * 8))))
    with pytest.raises(BadInput, match="should be a list of texts"):
        read_mat(path, [], ["x"])


def test_a_text_of_what_is_no_character(tmp_path):
    text = matrix((1, 1), element(9, struct.pack("<d", 65.5)), kind=4)
    (tmp_path / "x.mat").write_bytes(header() + element(14, matrix((1, 1), element(14, text), kind=1)))
    with pytest.raises(BadInput, match="no character"):
        read_mat(tmp_path / "x.mat", [], ["x"])


def test_a_bomb_is_not_unpacked(tmp_path):
    """A gigabyte of zeros behind a small header: only as much as the shape allows is unpacked."""
    import tracemalloc

    packed = zlib.compressobj(9)
    body = packed.compress(struct.pack("<II", 14, 2**30) + matrix((10, 10), struct.pack("<II", 9, 2**30)))
    zeros = bytes(2**24)
    body += b"".join(packed.compress(zeros) for _ in range(16)) + packed.flush()
    path = tmp_path / "x.mat"
    path.write_bytes(header() + struct.pack("<II", 15, len(body)) + body)
    tracemalloc.start()
    with pytest.raises(BadInput, match="damaged"):
        read_mat(path, ["x"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23


def test_a_missing_file(tmp_path):
    with pytest.raises(BadInput, match="cannot read"):
        read_mat(tmp_path / "no.mat", ["x"])
