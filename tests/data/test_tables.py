"""Tables: .csv, .tsv and .parquet."""

import numpy as np
import pytest
import torch

from uncollapse.data import load
from uncollapse.data.tables import coded
from uncollapse.errors import BadInput


def lines(n=20, sign=","):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    kinds = [("cat", "dog")[k % 2] for k in range(n)]
    rows = [sign.join([f"id{k}", *map(str, x[k].tolist()), kinds[k]]) for k in range(n)]
    return x, kinds, "\n".join([sign.join(["name", "a", "b", '"c d"', "kind"]), *rows]) + "\n"


def everything(data):
    return torch.cat([part.x for part in data.parts.values()]).numpy()


@pytest.mark.parametrize(("ending", "sign"), [("csv", ","), ("tsv", "\t"), ("CSV", ",")])
def test_columns_labels_and_what_is_left_out(tmp_path, ending, sign):
    x, _, text = lines(sign=sign)
    path = tmp_path / f"cells.{ending}"
    path.write_text(text)
    data = load(path, label="kind", drop=["name"])
    assert data.name == "cells"
    assert data.shape == (3,)
    assert data.classes == ("cat", "dog")
    assert data.likelihood == "gaussian"
    assert [len(part) for part in data.parts.values()] == [16, 2, 2]
    found = everything(data)
    assert np.allclose(found[np.argsort(found[:, 0])], x[np.argsort(x[:, 0])], rtol=1e-6)
    first = data.train.x[0].numpy()
    place = int(np.abs(x - first).sum(1).argmin())
    assert data.classes[data.train.y[0]] == ("cat", "dog")[place % 2]
    assert load(path, label="kind", drop="name").fingerprint == data.fingerprint


def test_without_names_and_with_a_mark_of_bytes(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b"\xef\xbb\xbf" + b"".join(b"%d,1,0\r\n" % (k % 2) for k in range(20)) + b"\r\n")
    data = load(path)
    assert data.shape == (3,)
    assert data.likelihood == "bernoulli"
    assert len(everything(data)) == 20
    assert load(path, label="0").shape == (2,)
    assert load(path, likelihood="multinomial").vocabulary == ("0", "1", "2")


BAD = {
    "a word": ("a,b\n1,2\n3,x\n", {}, "line 3 of .*'x' in column 'b'"),
    "nothing there": ("a,b\n1,2\n3,\n", {}, "line 3 of .*'' in column 'b'"),
    "not a number": ("a,b\n" + "1,nan\n" * 20, {}, "finite"),
    "too few values": ("a,b\n1,2\n3\n", {}, "line 3 of .* has 1 values"),
    "no such label": ("a,b\n1,2\n", {"label": "c"}, "no column 'c'; it has a, b"),
    "no such column": ("a,b\n1,2\n", {"drop": ["c"]}, "no column 'c'"),
    "all left out": ("a,b\n1,2\n", {"drop": ["a", "b"]}, "at least one column"),
    "twice": ("a,a\n1,2\n", {}, "two columns 'a'"),
    "empty": ("", {}, "at least one column"),
    "names only": ("a,b\n", {}, "at least two examples|too few|no examples|hold real numbers"),
    "open quotes": ('a,b\n1,"2\n', {}, "not a readable table"),
    "a long field": ("a,b\n1," + "2" * 200_000 + "\n", {}, "not a readable table"),
}


@pytest.mark.parametrize(("text", "options", "words"), BAD.values(), ids=list(BAD))
def test_wrong_tables(tmp_path, text, options, words):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises((BadInput, ValueError), match=words):
        load(tmp_path / "x.csv", **options)


def test_other_bytes(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"a,b\n\xff\xfe,1\n")
    with pytest.raises(BadInput, match="not a readable table"):
        load(tmp_path / "x.csv")


def test_labels():
    assert coded(["b", "a", "b"])[1] == ("a", "b")
    assert coded(["10", "9.5"])[1] == ("9.5", "10")
    with pytest.raises(BadInput, match="name classes"):
        coded([str(k) for k in range(10_001)])
