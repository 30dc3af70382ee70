"""Pickles of plain numbers: read right, and nothing in them is run."""

import os
import pickle
import struct

import numpy as np
import pytest

from uncollapse.data.pickles import read_pickle
from uncollapse.errors import BadInput


def python2(data, labels):
    """What Python 2 and an old NumPy wrote: protocol 2, byte strings, numpy.core."""
    raw = data.tobytes()
    out = b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04"
    out += b"K\x00\x85U\x01b\x87Rq\x05"
    out += b"(K\x01" + b"".join(b"J" + struct.pack("<i", side) for side in data.shape) + b"\x86"
    out += (
        b"cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87Rq\x07(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
    )
    out += b"T" + struct.pack("<i", len(raw)) + raw + b"tb"
    out += b"U\x06labelsq\x08]q\x09(" + b"".join(b"K" + bytes([label]) for label in labels) + b"eu."
    return out


def test_python_2(tmp_path):
    data = np.random.default_rng(0).integers(0, 256, (4, 6)).astype(np.uint8)
    (tmp_path / "a").write_bytes(python2(data, [1, 2, 3, 4]))
    found = read_pickle(tmp_path / "a")
    assert np.array_equal(found["data"], data)
    assert found["labels"] == [1, 2, 3, 4]


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("dtype", ["u1", "<i4", ">f8", "f4"])
def test_python_3(tmp_path, protocol, dtype):
    content = {"data": np.arange(6).reshape(2, 3).astype(dtype), b"names": [b"a", "b"], "n": 3}
    if protocol == 2:  # there Python 3 writes bytes by a call of codecs.encode
        content = {"n": 3, "names": ["a", "b"]}
    (tmp_path / "a").write_bytes(pickle.dumps(content, protocol))
    found = read_pickle(tmp_path / "a")
    assert found["names"] == ["a", "b"]
    assert found["n"] == 3
    if protocol > 2:
        assert np.array_equal(found["data"], content["data"])
        assert np.array_equal(read_pickle_of(tmp_path, np.asfortranarray(content["data"]), protocol), content["data"])


def read_pickle_of(folder, array, protocol):
    (folder / "b").write_bytes(pickle.dumps({"data": array}, protocol))
    return read_pickle(folder / "b")["data"]


class Run:
    """Would make a folder when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_is_run(tmp_path, protocol):
    (tmp_path / "a").write_bytes(pickle.dumps({"data": Run(tmp_path / "made")}, protocol))
    with pytest.raises(BadInput, match=r"it names (posix|nt)\.mkdir"):
        read_pickle(tmp_path / "a")
    assert not (tmp_path / "made").exists()


HOSTILE = {
    "empty": b"",
    "text": b"hello",
    "list": pickle.dumps([1, 2]),
    "number": pickle.dumps(3),
    "cut": python2(np.zeros((2, 2), np.uint8), [1, 2])[:-20],
    "too large": python2(np.zeros((2, 2), np.uint8), [1]).replace(
        struct.pack("<i", 2), struct.pack("<i", 2**31 - 1), 2
    ),
    "negative": python2(np.zeros((2, 2), np.uint8), [1]).replace(struct.pack("<i", 2), struct.pack("<i", -1), 2),
    "objects": python2(np.zeros((2, 2), np.uint8), [1]).replace(b"U\x02u1", b"U\x02O8"),
    "other class": b"cbuiltins\neval\n(U\x011tR.",
    "old other class": b"c__builtin__\neval\n(U\x011tR.",
    "submodule": b"cnumpy\ncore.multiarray._reconstruct\n.",
    "dotted": b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__class__\x93.",
    "extension": b"\x80\x02\x82\x01.",
    "persistent": b"Pabc\n.",
    "memo": b"\x80\x02}r\xff\xff\xff\xff.",
    "huge string": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b".",
    "array without state": b"\x80\x02}U\x04datacnumpy\nndarray\n)Rs.",
    "class itself": b"\x80\x02}U\x04datacnumpy\nndarray\nK\x01bs.",
    "deep": b"\x80\x02" + b"(" * 100_000 + b".",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=list(HOSTILE))
def test_hostile_files(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    if content == HOSTILE["memo"]:  # only a large number for a memo: harmless, and an empty dictionary
        assert read_pickle(tmp_path / "a") == {}
        return
    with pytest.raises(BadInput) as caught:
        read_pickle(tmp_path / "a")
    assert "\n" not in str(caught.value)


def test_flipped_bytes_never_escape(tmp_path):
    whole = python2(np.zeros((3, 3), np.uint8), [1, 2, 3])
    rng = np.random.default_rng(0)
    for _ in range(400):
        damaged = bytearray(whole)
        damaged[int(rng.integers(len(whole)))] = int(rng.integers(256))
        (tmp_path / "a").write_bytes(damaged)
        try:
            read_pickle(tmp_path / "a")
        except BadInput:
            continue


def test_a_missing_file(tmp_path):
    with pytest.raises(BadInput, match="cannot read"):
        read_pickle(tmp_path / "no")
