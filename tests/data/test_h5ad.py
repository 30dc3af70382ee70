"""Annotated count tables, in the layout that anndata writes."""

import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from scipy import sparse

from uncollapse.data import load
from uncollapse.data.h5ad import apart
from uncollapse.errors import BadInput, Unsupported
from uncollapse.hdf5 import read_cells

N, GENES = 40, 6


def counts(seed=0):
    x = np.random.default_rng(seed).poisson(0.7, (N, GENES))
    x[:, 0] = np.arange(N) + 1  # tells the cells apart
    return x.astype(np.float32)


def write(path, x, how="dense", names=True, categories=True):
    with h5py.File(path, "w") as file:
        if how == "dense":
            file.create_dataset("X", data=x, chunks=(7, GENES), compression="gzip")
        else:
            matrix = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix}[how](x)
            group = file.create_group("X")
            group.attrs.update({"encoding-type": f"{how}_matrix", "shape": x.shape})
            for name in ("data", "indices", "indptr"):
                group.create_dataset(name, data=getattr(matrix, name))
        file.create_dataset("layers/half", data=x / 2)
        obs = file.create_group("obs")
        if categories:
            kind = obs.create_group("kind")
            kind.create_dataset("codes", data=(np.arange(N) % 2).astype(np.int8))
            kind.create_dataset(
                "categories", data=np.array(["T cell", "B cell"], dtype=object), dtype=h5py.string_dtype()
            )
        obs.create_dataset("batch", data=np.arange(N) % 4)
        if names:
            var = file.create_group("var")
            var.attrs["_index"] = "gene"
            var.create_dataset("gene", data=[f"g{k}" for k in range(GENES)], dtype=h5py.string_dtype())


@pytest.mark.parametrize("how", ["dense", "csr", "csc"])
def test_counts(tmp_path, how, monkeypatch):
    x = counts()
    write(tmp_path / "cells.h5ad", x, how)
    monkeypatch.setattr("uncollapse.hdf5.ROWS", 7)  # several stretches
    assert np.array_equal(read_cells(tmp_path / "cells.h5ad", None, None)[0], x)
    data = load(tmp_path / "cells.h5ad", label="kind")
    assert data.name == "cells"
    assert data.likelihood == "negative-binomial"
    assert data.vocabulary == tuple(f"g{k}" for k in range(GENES))
    assert data.classes == ("B cell", "T cell")
    assert [len(part) for part in data.parts.values()] == [32, 4, 4]
    for part in data.parts.values():
        for row, label in zip(part.tensor(), part.y, strict=True):
            place = int(row[0]) - 1
            assert np.array_equal(row.numpy(), x[place])
            assert data.classes[label] == ("T cell", "B cell")[place % 2]
    assert not data.train.x.is_floating_point()
    assert data.train.divisor == 1


def test_large_counts_stay_whole(tmp_path):
    x = counts()
    x[3, 2] = 70_000
    write(tmp_path / "x.h5ad", x)
    data = load(tmp_path / "x.h5ad", label="batch")
    assert data.train.x.dtype == torch.int32
    assert max(part.range[1] for part in data.parts.values()) == 70_000
    assert data.classes == ("0", "1", "2", "3")


def test_layers_and_other_likelihoods(tmp_path):
    write(tmp_path / "x.h5ad", counts(), names=False)
    assert load(tmp_path / "x.h5ad", layer="half").likelihood == "gaussian"
    assert load(tmp_path / "x.h5ad", likelihood="multinomial").vocabulary == ()
    with pytest.raises(BadInput, match="no layers/whole; beside it are: half"):
        load(tmp_path / "x.h5ad", layer="whole")
    with pytest.raises(BadInput, match="no obs/type; beside it are: batch, kind"):
        load(tmp_path / "x.h5ad", label="type")


def outside(path, how):
    secret = path.with_name("secret.h5")
    with h5py.File(secret, "w") as file:
        file["X"] = counts()
    path.with_name("secret.raw").write_bytes(counts().tobytes())
    with h5py.File(path, "w") as file:
        if how == "external":
            file["X"] = h5py.ExternalLink("secret.h5", "X")
        elif how == "soft":
            file["real"] = counts()
            file["X"] = h5py.SoftLink("/real")
        elif how == "raw":
            file.create_dataset("X", (N, GENES), "f4", external=[(str(path.with_name("secret.raw")), 0, N * GENES * 4)])
        else:
            layout = h5py.VirtualLayout((N, GENES), "f4")
            layout[:] = h5py.VirtualSource(str(secret), "X", (N, GENES))
            file.create_virtual_dataset("X", layout)


@pytest.mark.parametrize("how", ["external", "soft", "raw", "virtual"])
def test_nothing_outside_the_file_is_read(tmp_path, how):
    outside(tmp_path / "x.h5ad", how)
    with pytest.raises(BadInput, match="only what lies in the file itself"):
        load(tmp_path / "x.h5ad")


@pytest.mark.parametrize("name", ["var", "var/gene"])
def test_names_outside_the_file_are_not_read(tmp_path, name):
    write(tmp_path / "other.h5", counts())
    write(tmp_path / "x.h5ad", counts())
    with h5py.File(tmp_path / "x.h5ad", "r+") as file:
        del file[name]
        file[name] = h5py.ExternalLink("other.h5", name)
    with pytest.raises(BadInput, match="only what lies in the file itself"):
        load(tmp_path / "x.h5ad")


@pytest.mark.parametrize("repeated", ["words", "codes"])
def test_one_long_text_that_stands_for_many_is_refused(tmp_path, monkeypatch, repeated):
    """A text of variable length is kept once, however often it is referred to."""
    monkeypatch.setattr("uncollapse.limits.CARELESS", 2**20)
    monkeypatch.setattr("uncollapse.limits.RATIO", 1)
    write(tmp_path / "x.h5ad", counts())
    with h5py.File(tmp_path / "x.h5ad", "r+") as file:
        if repeated == "words":
            file.create_dataset("obs/long", (N,), h5py.string_dtype(), fillvalue="x" * 60_000)
        else:
            file["obs/long/codes"] = np.zeros(N, np.int8)
            file.create_dataset("obs/long/categories", data=["x" * 60_000], dtype=h5py.string_dtype())
    with pytest.raises(BadInput, match=r"holds 2[0-9]* characters, more than"):
        read_cells(tmp_path / "x.h5ad", None, "long")


def broken(path, name, value):
    write(path, counts(), "csr")
    with h5py.File(path, "r+") as file:
        if name == "shape":
            file["X"].attrs["shape"] = value
        elif name == "encoding-type":
            file["X"].attrs[name] = value
        else:
            old = file["X"][name][:]
            del file["X"][name]
            file["X"][name] = value(old)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("shape", (2**40, 2**40), "more than the"),
        ("shape", (N + 1, GENES), "row ends do not fit"),
        ("shape", (N, GENES - 1), "outside its"),
        ("shape", (N,), "cells by genes"),
        ("encoding-type", "coo_matrix", "known: dense, csr_matrix"),
        ("indices", lambda old: old - 1, "outside its"),
        ("indptr", lambda old: old[::-1], "row ends do not fit"),
        ("indptr", lambda old: old * 1000, "row ends do not fit"),
        ("data", lambda old: old[:-3], "row ends do not fit"),
        ("indices", lambda old: old[:-3], "not a readable"),
        ("data", lambda old: old * np.nan, "finite"),
    ],
)
def test_damaged_sparse_tables(tmp_path, name, value, words):
    broken(tmp_path / "x.h5ad", name, value)
    with pytest.raises(BadInput, match=words):
        load(tmp_path / "x.h5ad")


def test_damaged_files(tmp_path):
    path = tmp_path / "x.h5ad"
    write(path, counts(), "csr")
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for content in (b"", b"no", whole[:100], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(BadInput, match="not a readable"):
            load(path)
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[int(rng.integers(len(whole)))] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            load(path, label="kind")
        except BadInput:
            continue


def test_without_h5py(tmp_path, monkeypatch):
    (tmp_path / "x.h5ad").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(Unsupported, match=r"pip install 'uncollapse\[h5ad\]'"):
        load(tmp_path / "x.h5ad")


ENDLESS = Path(__file__).parents[2] / "fuzz" / "apart" / "endless.h5ad"


def test_a_file_that_sends_the_library_into_an_endless_loop():
    """Found by fuzzing: libhdf5 never comes back from reading two words of it, and holds the lock of Python."""
    started = time.monotonic()
    with pytest.raises(
        BadInput, match=r"could not read it within 2 seconds of the processor .*write it anew with anndata"
    ):
        apart(ENDLESS, None, "kind", seconds=1)
    assert time.monotonic() - started < 120


def test_a_reader_that_dies(tmp_path, monkeypatch):
    write(tmp_path / "x.h5ad", counts())
    monkeypatch.setattr("uncollapse.data.h5ad.found_there", lambda: {"PYTHONPATH": str(tmp_path)})
    (tmp_path / "uncollapse").mkdir()
    (tmp_path / "uncollapse" / "__init__.py").touch()
    (tmp_path / "uncollapse" / "hdf5.py").write_text("import os; os.abort()")
    with pytest.raises(BadInput, match="the reader ended with -6"):
        load(tmp_path / "x.h5ad")
