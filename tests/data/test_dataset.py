"""What is checked when a data set is made, and its fingerprint."""

import hashlib

import pytest
import torch

from uncollapse.data import DataSet, Part, from_tensors
from uncollapse.errors import BadInput, ShapeError


def part(n=6, seed=0, **options):
    x = torch.randint(0, 256, (n, 1, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return Part(x, torch.arange(n) % 2, **{"divisor": 255.0} | options)


def made(**options):
    return DataSet(**{"name": "toy", "train": part(), "valid": part(4), "test": part(5)} | options)


def test_what_it_knows():
    data = made(classes=("even", "odd"))
    assert data.shape == (1, 2, 2)
    assert data.nbytes == 15 * (4 + 8)
    assert repr(data) == "DataSet('toy', (1, 2, 2), train/valid/test 6/4/5, bernoulli)"
    assert data.likelihood_setting == "bernoulli"
    assert made(likelihood="gaussian", scale=0.5).likelihood_setting == {"gaussian": 0.5}


def test_fingerprint_is_a_stable_hash():
    print_ = made().fingerprint
    assert print_ == made().fingerprint == made(name="other", note="text").fingerprint
    assert len(print_) == 64
    assert int(print_, 16) > 0


@pytest.mark.parametrize(
    "change",
    [
        {"train": part(seed=1)},
        {"train": part(7)},
        {"train": part(divisor=256.0)},
        {"train": part(binarise="dynamic")},
        {"train": part(binarise="fixed")},
        {"valid": part(5), "test": part(4)},
        {"train": Part(part().x, divisor=255.0)},
        {"train": Part(part().x, 1 - part().y, divisor=255.0)},
        {"train": Part(part().x.float(), part().y, divisor=255.0)},
        {"likelihood": "gaussian"},
        {"likelihood": "gaussian", "scale": 0.5},
    ],
)
def test_fingerprint_notices_every_change(change):
    prints = {made().fingerprint, made(likelihood="gaussian", scale=2.0).fingerprint, made(**change).fingerprint}
    assert len(prints) == 3


def test_the_seed_counts_only_where_something_is_drawn():
    assert made(train=part()).fingerprint == made(train=Part(part().x, part().y, 255.0, "none", 9)).fingerprint
    drawn = [made(train=Part(part().x, part().y, 255.0, "fixed", seed)).fingerprint for seed in (0, 9)]
    assert drawn[0] != drawn[1]


def test_fingerprint_does_not_depend_on_strides():
    x = torch.rand(6, 2, 3)
    pieces = [x, x.transpose(1, 2).contiguous().transpose(1, 2)]
    assert len({from_tensors(p, valid=p).fingerprint for p in pieces}) == 1
    assert from_tensors(x, valid=x).fingerprint != hashlib.sha256(b"").hexdigest()


def test_binarised_fixes_the_held_out_parts():
    data = made().binarised("dynamic")
    assert [p.binarise for p in data.parts.values()] == ["dynamic", "fixed", "fixed"]
    assert [p.binarise for p in made().binarised("fixed").parts.values()] == ["fixed"] * 3
    assert [p.binarise for p in data.binarised("none").parts.values()] == ["none"] * 3
    with pytest.raises(BadInput, match="'often'"):
        data.binarised("often")


def test_to_moves_all_parts():
    moved = made().to("cpu")
    assert moved.fingerprint == made().fingerprint


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"likelihood": "poisson"}, BadInput, "'poisson'"),
        ({"scale": 0.0}, BadInput, "scale"),
        ({"scale": float("nan")}, BadInput, "scale"),
        ({"valid": Part(torch.rand(3, 4))}, ShapeError, r"valid has \(4,\)"),
        ({"test": part(divisor=1.0)}, BadInput, r"test has \d+ to \d+; set divisor"),
        ({"classes": ("only",)}, BadInput, "0 to 0, but train has 0 to 1"),
    ],
)
def test_what_does_not_fit_is_refused(change, kind, words):
    with pytest.raises(kind, match=words):
        made(**change)
