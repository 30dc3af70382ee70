"""Parquet files: what pyarrow writes is read alike; what is damaged, hostile or too large is refused in a sentence."""

import sys

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from uncollapse.data import load
from uncollapse.errors import BadInput, Unsupported


def everything(data):
    return torch.cat([part.x for part in data.parts.values()]).numpy()


def table(n=5000):
    rng = np.random.default_rng(0)
    return {
        "a": rng.normal(size=n).astype(np.float32),
        "b": rng.integers(0, 9, n),
        "flag": rng.random(n) < 0.5,
        "kind": ["xyz"[k % 3] for k in range(n)],
    }


def test_parquet(tmp_path):
    columns = table()
    parquet.write_table(pa.table(columns), tmp_path / "x.parquet")
    data = load(tmp_path / "x.parquet", label="kind")
    assert data.shape == (3,)
    assert data.classes == ("x", "y", "z")
    expected = np.stack([columns["a"], columns["b"], columns["flag"]], 1).astype(np.float32)
    found = everything(data)
    assert np.array_equal(found[np.lexsort(found.T)], expected[np.lexsort(expected.T)])
    labels = torch.cat([part.y for part in data.parts.values()]).bincount().tolist()
    assert labels == [1667, 1667, 1666]
    assert load(tmp_path / "x.parquet", drop=["a", "kind"], likelihood="negative-binomial").vocabulary == ("b", "flag")


def test_wrong_parquet(tmp_path):
    path = tmp_path / "x.parquet"
    parquet.write_table(pa.table(table(50)), path)
    with pytest.raises(BadInput, match=r"column 'kind' of .* holds string"):
        load(path)
    with pytest.raises(BadInput, match="no column 'q'"):
        load(path, label="q")
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for content in (b"", b"PAR1", whole[:-10], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(BadInput, match=r"not a readable parquet"):
            load(path, label="kind")
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[int(rng.integers(len(whole)))] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            load(path, label="kind")
        except BadInput:
            continue
    parquet.write_table(pa.table({"a": pa.array([1.0, None] * 10)}), path)
    with pytest.raises(BadInput, match="finite"):
        load(path)


def test_a_parquet_bomb(tmp_path):
    """A few kilobytes that announce more numbers than are accepted."""
    path = tmp_path / "x.parquet"
    zeros = pa.array(np.zeros(2**20, np.int8))
    parquet.write_table(pa.table({f"c{n}": zeros for n in range(70)}), path)
    assert path.stat().st_size < 2**18
    with pytest.raises(BadInput, match=r"announces 1048576 x 70 numbers, more than the 268435456 bytes"):
        load(path)


def test_a_parquet_file_that_repeats_a_long_word(tmp_path):
    """One word of 8 MB for 20,000 examples: 160 GB if it were unpacked for each."""
    path = tmp_path / "x.parquet"
    words = pa.DictionaryArray.from_arrays(pa.array(np.zeros(20_000, np.int32)), ["x" * 2**23])
    parquet.write_table(pa.table({"a": np.arange(20_000), "y": words}), path, compression="zstd")
    with pytest.raises(BadInput, match="labels should name classes, got one of 8388608 characters"):
        load(path, label="y")
    plain = pa.table({"a": np.arange(20_000), "y": ["x"] * 20_000})
    parquet.write_table(plain, path)
    assert load(path, label="y").classes == ("x",)


def test_without_pyarrow(tmp_path, monkeypatch):
    (tmp_path / "x.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(Unsupported, match=r"pip install 'uncollapse\[data\]'"):
        load(tmp_path / "x.parquet")
