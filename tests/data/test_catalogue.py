"""Names, options, and the data that need no file."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from uncollapse.data import catalogue, load, names
from uncollapse.errors import BadInput


def test_digits_are_the_real_ones():
    from sklearn.datasets import load_digits

    data = load("digits")
    assert [len(part) for part in data.parts.values()] == [1257, 180, 360]
    stored = torch.cat([part.x for part in data.parts.values()])
    labels = torch.cat([part.y for part in data.parts.values()])
    bunch = load_digits()
    order, expected = (np.lexsort(a.reshape(1797, -1).T) for a in (stored.numpy(), bunch.images))
    assert np.array_equal(stored.numpy().reshape(1797, 8, 8)[order], bunch.images[expected])
    assert np.array_equal(np.bincount(labels), np.bincount(bunch.target))
    assert data.train.divisor == 16
    assert len(data.train.x.unique()) == 17
    assert [part.binarise for part in data.parts.values()] == ["dynamic", "fixed", "fixed"]


def test_digits_split_by_class_and_seed():
    first, again, other = load("digits"), load("digits"), load("digits", seed=1)
    assert first.fingerprint == again.fingerprint != other.fingerprint
    whole = torch.cat([part.y for part in first.parts.values()]).bincount()
    for part in first.parts.values():
        assert ((part.y.bincount() - whole * len(part) / 1797).abs() < 2).all()
    assert load("digits", binarise="none").test.tensor().unique().numel() == 17


def test_the_mixture_is_the_reports():
    data = load("gaussian-mixture")
    assert [len(part) for part in data.parts.values()] == [162_000, 18_000, 20_000]
    assert data.likelihood_setting == {"gaussian": 0.5**0.5}
    x = torch.cat([part.x for part in data.parts.values()])
    y = torch.cat([part.y for part in data.parts.values()])
    assert y.bincount().tolist() == [20_000] * 10
    means = torch.stack([x[y == k].mean(0) for k in range(10)])
    variances = torch.stack([x[y == k].var(0) for k in range(10)])
    assert (means.norm(dim=1) < 40.2).all()
    assert means.norm(dim=1).max() > 20
    assert (variances < 8.3).all()
    assert (variances.std(1) / variances.mean(1) < 0.02).all()  # balls: one variance a class
    assert variances.mean(1).std() > 1
    ball = x[y == 0]
    correlation = torch.corrcoef(ball.T) - torch.eye(16)
    assert correlation.abs().max() < 0.04


def test_a_small_mixture_has_the_same_balls():
    small, large = load("gaussian-mixture", size=2000), load("gaussian-mixture", size=20_000)
    for k in range(10):
        a, b = (data.train.x[data.train.y == k].mean(0) for data in (small, large))
        assert (a - b).abs().max() < 1.3
    assert small.fingerprint == load("gaussian-mixture", size=2000).fingerprint
    assert load("gaussian-mixture", size=400, classes=3, dimension=2).shape == (2,)


def test_the_catalogue_agrees_with_what_is_loaded():
    entries = {entry.name: entry for entry in catalogue()}
    assert list(entries) == names()
    for name in ("digits", "gaussian-mixture"):
        entry, data = entries[name], load(name)
        assert entry.present
        assert entry.places == ()
        assert entry.shape == data.shape
        assert entry.size == tuple(len(part) for part in data.parts.values())
        assert entry.nbytes == sum(part.x.nbytes for part in data.parts.values())
        assert (entry.citation, entry.licence) == (data.citation, data.licence)
    assert all(entry.citation and entry.licence and entry.what for entry in entries.values())
    assert all(entry.places for name, entry in entries.items() if "mnist" in name)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "digit"}, "mean 'digits'"),
        ({"name": "qqq"}, "unknown data set 'qqq'; known: digits"),
        ({"name": ""}, "unknown data set"),
        ({"name": "digits", "size": 3}, "unknown option 'size'.*known: binarise"),
        ({"name": "gaussian-mixture", "sise": 3}, "mean 'size'"),
        ({"name": "gaussian-mixture", "binarise": "dynamic"}, "not an image"),
        ({"name": "gaussian-mixture", "size": 5}, "size >= classes"),
        ({"name": "digits", "binarise": "yes"}, "'yes'"),
        ({"name": "digits", "seed": -1}, "seed"),
        ({"name": "digits", "seed": 0.5}, "seed"),
        ({"name": "digits", "path": "x"}, "unknown option 'path'"),
    ],
)
def test_mistakes_are_named(arguments, words):
    with pytest.raises(BadInput, match=words):
        load(**arguments)


def test_importing_brings_no_heavy_library():
    code = "import sys, uncollapse.data; print([m for m in ('sklearn', 'scipy', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
