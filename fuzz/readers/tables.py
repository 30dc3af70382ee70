"""Parquet files and annotated count tables."""

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.attempt import Reader
from fuzz.packing import in_parquet

__all__ = ["READERS"]


def run_parquet(data: bytes, folder: Path) -> Any:
    """A data set, with and without a column of labels."""
    from uncollapse.data.parquet import read_parquet

    path = folder / "x.parquet"
    path.write_bytes(data)
    label = (None, "c", "word")[zlib.crc32(data) % 3]
    return read_parquet(path, label=label, fractions=(0.4, 0.3, 0.3)).fingerprint


def seeds_parquet() -> dict[str, bytes]:
    """Numbers, words, dictionaries, gaps, nested columns; every packing."""
    import pyarrow as pa
    from pyarrow import parquet

    n, out = 8, {}
    tables = {
        "floats": {"a": np.arange(n, dtype="f4"), "b": np.arange(n, dtype="i8")},
        "labels": {"a": np.ones(n), "c": np.arange(n) % 2},
        "words": {"a": np.ones(n, "u1"), "word": pa.array(["x", "y"] * 4).dictionary_encode()},
        "gaps": {"a": pa.array([1.0, None] * 4), "b": pa.array([True, False] * 4)},
        "nested": {"a": pa.array([[1.0, 2.0]] * n), "b": pa.array([{"q": 1}] * n)},
        "halves": {"a": np.arange(n, dtype="f2"), "d": pa.array([1, 2] * 4, pa.decimal128(5))},
    }
    for number, (name, columns) in enumerate(tables.items()):
        packing = ("NONE", "SNAPPY", "GZIP", "ZSTD", "LZ4", "BROTLI")[number]
        buffer = io.BytesIO()
        parquet.write_table(pa.table(columns), buffer, compression=packing)
        out[name] = buffer.getvalue()
    return out


def run_h5ad(data: bytes, folder: Path) -> Any:
    """What the process beside the user's reads; that its end is survived is for a test to show."""
    from uncollapse.hdf5 import read_cells

    path = folder / "x.h5ad"
    path.write_bytes(data)
    return read_cells(path, None, (None, "kind")[len(data) % 2])


def seeds_h5ad() -> dict[str, bytes]:
    """Dense and sparse tables, with categories."""
    import h5py

    out = {}
    for name in ("dense", "sparse"):
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            if name == "dense":
                file["X"] = np.arange(16, dtype="f4").reshape(8, 2)
            else:
                x = file.create_group("X")
                x.attrs.update({"encoding-type": "csr_matrix", "shape": (8, 2)})
                x["data"], x["indices"], x["indptr"] = np.ones(8), np.arange(8) % 2, np.arange(9)
            kind = file.create_group("obs/kind")
            kind["codes"], kind["categories"] = np.arange(8) % 2, ["a", "b"]
            file.create_group("var").attrs["_index"] = "_index"
            file["var/_index"] = ["one", "two"]
        out[name] = buffer.getvalue()
    return out


READERS = (
    Reader("parquet", run_parquet, seeds_parquet, in_parquet, 8192),
    Reader("h5ad", run_h5ad, seeds_h5ad, None, 16384),
)
