"""Weights of strangers: nothing but sound safetensors is opened, and nothing runs."""

import contextlib
import json
import os
import pickle
import struct

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from uncollapse.cli.diagnosing import load_weights
from uncollapse.data import load
from uncollapse.errors import BadInput, UncollapseError
from uncollapse.store import load_tensors


class Evil:
    """Makes a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def model():
    return nn.Linear(2, 2, bias=False)


def tensors(header, body=b"", length=None):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + body


FOUR = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
NAN = np.full((2, 2), np.nan, np.float32).tobytes()
BAD = {
    "empty": (b"", "does not fit"),
    "huge header": (tensors({}, length=2**62), "does not fit"),
    "long header": (tensors({}, length=10**8), "does not fit"),
    "overlapping": (tensors({"weight": FOUR, "v": {**FOUR, "data_offsets": [8, 24]}}, bytes(24)), "does not fit"),
    "beyond the end": (tensors({"weight": {**FOUR, "data_offsets": [0, 2**40]}}, bytes(16)), "does not fit"),
    "shape": (tensors({"weight": {**FOUR, "shape": [2**40, 2**40]}}, bytes(16)), "does not fit"),
    "other shape": (tensors({"weight": {**FOUR, "shape": [4, 1]}}, bytes(16)), "does not fit"),
    "kind": (tensors({"weight": {**FOUR, "dtype": "Q7"}}, bytes(16)), "does not fit"),
    "twice": (tensors(b'{"weight":%s,"weight":%s}' % ((json.dumps(FOUR).encode(),) * 2), bytes(16)), None),
    "no json": (tensors(b"\xff" * 20), "does not fit"),
    "deep": (tensors(b"[" * 100_000), "does not fit"),
    "nan": (tensors({"weight": FOUR}, NAN), "holds NaN"),
    "more": (tensors({"weight": FOUR, "x": {**FOUR, "data_offsets": [16, 32]}}, bytes(32)), "1 are unknown"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_weights(tmp_path, name):
    content, words = BAD[name]
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    if words is None:  # the library takes the last of two equal names
        load_weights(model(), path)
        return
    with pytest.raises(BadInput, match=words):
        load_weights(model(), path)
    with contextlib.suppress(UncollapseError):
        load_tensors(path)


@pytest.mark.parametrize("name", ["w.pt", "w.pkl", "w.ckpt", "w.bin", "w.safetensors"])
@pytest.mark.parametrize("torchs", [False, True])
def test_pickles_are_not_opened(tmp_path, name, torchs):
    """Whatever the file is called, it is refused with the way to convert it, and what it asks for is not done."""
    path, made = tmp_path / name, tmp_path / "made"
    if torchs:
        torch.save({"weight": Evil(made)}, path)
    else:
        path.write_bytes(pickle.dumps({"weight": Evil(made)}))
    with pytest.raises(BadInput, match=r"may run code when it is opened; convert it with .*weights_only=True"):
        load_weights(model(), path)
    with pytest.raises(UncollapseError):
        load_tensors(path)
    assert not made.exists()


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.csv", "x.txt", "x.parquet", "x.h5ad", "x.smi", "x.feat"])
def test_pickles_among_data(tmp_path, name):
    made = tmp_path / "made"
    (tmp_path / name).write_bytes(pickle.dumps(Evil(made)))
    with pytest.raises(BadInput):
        load(tmp_path / name)
    np.save(tmp_path / "o.npy", np.array([Evil(made)], dtype=object), allow_pickle=True)
    with pytest.raises(BadInput, match="never unpickled"):
        load(tmp_path / "o.npy")
    assert not made.exists()


def test_good_weights(tmp_path):
    one, other = model(), model()
    save_file(one.state_dict(), tmp_path / "w.safetensors")
    load_weights(other, tmp_path / "w.safetensors")
    assert torch.equal(one.weight, other.weight)
