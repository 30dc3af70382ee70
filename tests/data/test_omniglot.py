"""Omniglot in the layout of Burda's file, from small MATLAB files."""

import numpy as np
import pytest
import torch
from scipy.io import savemat

from uncollapse.data import catalogue, load
from uncollapse.errors import BadInput

N, TEST = 60, 20


def contents(seed=0):
    rng = np.random.default_rng(seed)
    images = {key: rng.integers(0, 256, (n, 28, 28)).astype(np.uint8) for key, n in (("data", N), ("testdata", TEST))}
    labels = {key: np.arange(n) % 5 for key, n in (("target", N), ("testtarget", TEST))}
    # MATLAB's order: a column of 784 numbers runs down the image's columns
    arrays = {key: images[key].transpose(0, 2, 1).reshape(len(images[key]), 784).T / 255 for key in images}
    arrays |= {key: np.eye(5)[labels[key]].T for key in labels}
    return images, labels, arrays


def write(folder, name="chardata.mat", seed=0, **changes):
    images, labels, arrays = contents(seed)
    folder.mkdir(parents=True, exist_ok=True)
    savemat(folder / name, {key: value for key, value in (arrays | changes).items() if value is not None})
    return images, labels


@pytest.mark.parametrize("folder", ["omniglot", "OMNIGLOT"])
def test_upright_bytes_and_alphabets(tmp_path, cache, folder):
    images, labels = write(tmp_path / folder)
    data = load("omniglot", data_dir=tmp_path, valid=10)
    assert data.name == "omniglot"
    assert [len(part) for part in data.parts.values()] == [50, 10, 20]
    assert data.test.x.dtype == torch.uint8
    assert np.array_equal(data.test.x[:, 0], images["testdata"])
    assert np.array_equal(data.test.y, labels["testtarget"])
    assert data.train.y.bincount().tolist() == [10] * 5
    assert data.train.divisor == 255
    assert [part.binarise for part in data.parts.values()] == ["dynamic", "fixed", "fixed"]
    assert data.classes == tuple(f"alphabet {k}" for k in range(1, 6))
    both = torch.cat([data.train.x, data.valid.x]).long().flatten(1).sum(1).sort().values
    assert np.array_equal(both, np.sort(images["data"].reshape(N, -1).sum(1, dtype=np.int64)))
    assert {entry.name: entry.present for entry in catalogue(tmp_path)}["omniglot"]


def test_the_derived_file_says_so_whatever_its_name(tmp_path, cache):
    names = np.array([f"Script_{k}" for k in range(5)], dtype=object)
    write(tmp_path / "omniglot", "chardata_derived.mat", alphabets=names)
    data = load("omniglot-derived", data_dir=tmp_path, valid=10)
    assert data.name == "omniglot-derived"
    assert data.classes == tuple(names)
    assert "another" in data.note
    with pytest.raises(BadInput, match=r"put chardata\.mat"):
        load("omniglot", data_dir=tmp_path, valid=10)
    (tmp_path / "omniglot" / "chardata_derived.mat").rename(tmp_path / "omniglot" / "chardata.mat")
    assert load("omniglot", data_dir=tmp_path, valid=10).name == "omniglot-derived"


def test_options_and_seeds(tmp_path, cache):
    write(tmp_path / "omniglot")
    first = load("omniglot", data_dir=tmp_path, valid=10)
    assert load("omniglot", data_dir=tmp_path, valid=10).fingerprint == first.fingerprint
    assert load("omniglot", data_dir=tmp_path, valid=10, seed=1).fingerprint != first.fingerprint
    assert len(load("omniglot", data_dir=tmp_path, valid=10, limit=20).train) == 20
    assert load("omniglot", data_dir=tmp_path, valid=10, binarise="none").test.tensor().unique().numel() > 100
    for wrong in ({}, {"valid": 10, "limit": 51}, {"valid": 1}):
        with pytest.raises(BadInput, match="60 training examples"):
            load("omniglot", data_dir=tmp_path, **wrong)
    with pytest.raises(BadInput, match="unknown option 'size'"):
        load("omniglot", data_dir=tmp_path, size=3)


def test_values_between_bytes_stay_floats(tmp_path, cache):
    rng = np.random.default_rng(1)
    write(tmp_path / "omniglot", data=rng.random((784, N)), testdata=rng.random((784, TEST)))
    data = load("omniglot", data_dir=tmp_path, valid=10)
    assert data.train.x.dtype == torch.float32
    assert data.train.divisor == 1


BAD = {
    "no test part": ({"testdata": None}, "testdata is missing"),
    "another size": ({"data": np.zeros((100, N))}, "784"),
    "out of range": ({"data": np.full((784, N), 1.5)}, "from 0 to 1"),
    "not a number": ({"data": np.full((784, N), np.nan)}, "from 0 to 1"),
    "two labels": ({"target": np.ones((5, N))}, "single 1"),
    "too few labels": ({"target": np.eye(5)}, "single 1"),
    "parts of different types": ({"testdata": np.full((784, TEST), 0.3)}, "both"),
}


@pytest.mark.parametrize(("changes", "words"), BAD.values(), ids=list(BAD))
def test_wrong_contents(tmp_path, cache, changes, words):
    write(tmp_path / "omniglot", **changes)
    with pytest.raises(BadInput, match=words):
        load("omniglot", data_dir=tmp_path, valid=10)
