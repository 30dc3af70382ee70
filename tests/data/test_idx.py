"""The IDX reader gives the array back, and nothing but a clear error otherwise."""

import gzip
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from uncollapse.data import read_idx
from uncollapse.errors import BadInput

CODES = {"u1": 0x08, "i1": 0x09, ">i2": 0x0B, ">i4": 0x0C, ">f4": 0x0D, ">f8": 0x0E}


def packed(array, kind="u1"):
    head = bytes([0, 0, CODES[kind], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(kind).tobytes()


IMAGES = np.arange(24, dtype=np.uint8).reshape(4, 3, 2)


@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("zipped", [True, False])
def test_every_type_comes_back(tmp_path, kind, zipped):
    array = np.arange(-3, 9).reshape(3, 4) % 100 if kind == "u1" else np.arange(-3, 9).reshape(3, 4)
    data = packed(array, kind)
    path = tmp_path / "file"  # the name says nothing about gzip
    path.write_bytes(gzip.compress(data) if zipped else data)
    out = read_idx(path)
    assert np.array_equal(out, array)
    assert out.dtype.isnative
    assert out.flags.writeable


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not an IDX file.*nothing"),
        (b"\0\0\x08", "not an IDX file"),
        (b"PK\x03\x04" + bytes(40), "not an IDX file.*50 4b"),
        (b"\0\0\x07\x01" + bytes(8), "not an IDX file"),
        (b"\0\0\x08\x00", "not an IDX file"),
        (b"\0\0\x08\x03\0\0\0\x04", "ends within its header"),
        (packed(IMAGES)[:-1], "4 x 3 x 2"),
        (packed(IMAGES) + b"!", "4 x 3 x 2"),
        (packed(IMAGES[0]), r"3 dimension\(s\), got 2"),
    ],
)
def test_damage_is_named(tmp_path, data, words, zipped):
    path = tmp_path / "images"
    path.write_bytes(gzip.compress(data) if zipped else data)
    with pytest.raises(BadInput, match=words) as caught:
        read_idx(path, 3)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_huge_claim_is_refused_before_anything_is_allocated(tmp_path, zipped):
    path = tmp_path / "images"
    for size, words in [(2**32 - 1, "more than the"), (2**9, "but the file has")]:
        data = bytes([0, 0, 8, 3]) + struct.pack(">3I", size, size, size) + bytes(100)
        path.write_bytes(gzip.compress(data) if zipped else data)
        with pytest.raises(BadInput, match=words):
            read_idx(path)


def test_many_sides_and_hidden_ones_are_refused(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(bytes([0, 0, 8, 9]) + struct.pack(">9I", *[1] * 9) + b"x")
    with pytest.raises(BadInput, match="announces 9 dimensions, more than the 8"):
        read_idx(path)
    path.write_bytes(bytes([0, 0, 8, 4]) + struct.pack(">4I", 0, *[2**32 - 1] * 3))
    with pytest.raises(BadInput, match=r"announces 0 x 4294967295 x .* more than the"):
        read_idx(path)
    path.write_bytes(bytes([0, 0, 8, 2]) + struct.pack(">2I", 0, 28))
    assert read_idx(path).shape == (0, 28)


def test_a_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "bomb"
    path.write_bytes(gzip.compress(packed(np.zeros(10, np.uint8)) + bytes(50 * 2**20)))
    with pytest.raises(BadInput, match="10 bytes, but more follow"):
        read_idx(path)
    with pytest.raises(BadInput, match="more than the 5 bytes"):
        read_idx(path, max_bytes=5)


def test_damaged_gzip_and_missing_files(tmp_path):
    whole = gzip.compress(packed(np.random.default_rng(0).integers(0, 255, 5000, np.uint8)))
    path = tmp_path / "x.gz"
    for data in (whole[:-9], whole[:200], whole[:30] + bytes([whole[30] ^ 255]) + whole[31:], whole[:10]):
        path.write_bytes(data)
        with pytest.raises(BadInput):
            read_idx(path)
    with pytest.raises(BadInput, match="cannot read"):
        read_idx(tmp_path / "absent")
    with pytest.raises(BadInput, match="cannot read"):
        read_idx(tmp_path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_bytes_cause_anything_but_bad_input(tmp_path, data):
    raw = bytearray(packed(IMAGES))
    if data.draw(st.booleans()):
        raw = bytearray(gzip.compress(bytes(raw)))
    for place in data.draw(st.lists(st.integers(0, len(raw) - 1), max_size=4)):
        raw[place] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(0, len(raw)))] + data.draw(st.binary(max_size=8))
    path = tmp_path / "fuzzed"
    path.write_bytes(bytes(raw))
    try:
        out = read_idx(path)
    except BadInput:
        return
    assert out.nbytes <= 2000
