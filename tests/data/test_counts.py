"""Counts of words, from small files of the same format."""

import gzip
import zipfile

import numpy as np
import pytest

from uncollapse.data import load
from uncollapse.data.counts import parse_counts, parse_words
from uncollapse.errors import BadInput


@pytest.fixture(autouse=True)
def _no_real_data(monkeypatch, tmp_path):
    monkeypatch.delenv("UNCOLLAPSE_DATA", raising=False)
    for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "cache"))


def documents(n, width=12, seed=0):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(1.0, (n, width))
    counts[:, 0] += 1
    return counts, 1 + np.arange(n) % 4


def lines(counts, labels, seed=0):
    rng = np.random.default_rng(seed)
    out = []
    for row, label in zip(counts, labels, strict=True):
        index = rng.permutation(np.flatnonzero(row))
        out.append(" ".join([str(label), *(f"{k + 1}:{row[k]}" for k in index)]))
    return "\n".join(out) + "\n"


def archive(path, **changed):
    path.parent.mkdir(exist_ok=True)
    texts = {
        "vocab.new": "".join(f"word{k} {9 * k}\n" for k in range(12)),
        "train.feat": lines(*documents(80)),
        "test.feat": lines(*documents(40, seed=1)),
    } | {name.replace("_", "."): text for name, text in changed.items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("20ng/", "")
        for name, text in texts.items():
            if text is not None:
                out.writestr(f"20ng/{name}", text)


def test_newsgroups(tmp_path):
    archive(tmp_path / "newsgroups20" / "20ng.zip")
    data = load("newsgroups20", data_dir=tmp_path, valid=20)
    assert [len(part) for part in data.parts.values()] == [60, 20, 40]
    assert data.likelihood_setting == "multinomial"
    assert data.vocabulary == tuple(f"word{k}" for k in range(12))
    assert data.classes == ("1", "2", "3", "4")
    counts, labels = documents(40, seed=1)
    assert np.array_equal(data.test.tensor().numpy(), counts)
    assert np.array_equal(data.test.y.numpy(), labels - 1)
    assert data.valid.y.bincount().tolist() == [5] * 4
    both = np.concatenate([data.train.tensor().numpy(), data.valid.tensor().numpy()])
    assert np.array_equal(np.sort(both.sum(1)), np.sort(documents(80)[0].sum(1)))
    assert load("newsgroups20", data_dir=tmp_path, valid=20, likelihood="negative-binomial").likelihood_setting == (
        "negative-binomial"
    )
    assert len(load("newsgroups20", data_dir=tmp_path, valid=20, limit=30).train) == 30
    with pytest.raises(BadInput, match="multinomial or negative-binomial, got 'gaussian'"):
        load("newsgroups20", data_dir=tmp_path, likelihood="gaussian")
    with pytest.raises(BadInput, match="80 training examples"):
        load("newsgroups20", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"train_feat": None}, r"train\.feat is missing"),
        ({"train_feat": "1 13:1\n"}, r"line 1 of train\.feat .* names words 13 to 13; expected 1 to 12"),
        ({"train_feat": "1 0:1\n"}, "names words 0 to 0"),
        ({"train_feat": "1 1:1 1:2\n"}, "same word twice"),
        ({"train_feat": "1 1:1\nhello\n"}, "line 2 of .* 'hello'"),
        ({"train_feat": "1 1:0.5\n"}, "whole numbers"),
        ({"train_feat": "1 1:-5\n"}, "whole numbers"),
        ({"train_feat": "\n"}, "no counts"),
        ({"test_feat": "9 1:1\n"}, "tests on labels"),
        ({"vocab_new": "a\na\n"}, "each once, got 2, 1 different"),
        ({"vocab_new": ""}, "one word a line"),
        ({"vocab_new": "a" * 2**21}, "more than 1048576 bytes"),
        ({"vocab_new": b"a\xff\n"}, "UTF-8"),
    ],
)
def test_damaged_contents(tmp_path, changed, words):
    archive(tmp_path / "20ng" / "20ng.zip", **changed)
    with pytest.raises(BadInput, match=words):
        load("newsgroups20", data_dir=tmp_path)


def test_damaged_archives(tmp_path):
    path = tmp_path / "20ng" / "20ng.zip"
    archive(path)
    whole = path.read_bytes()
    at = whole.index(b"train.feat") + 60
    for raw in (whole[:-40], whole[:at] + bytes(80) + whole[at + 80 :], b"", b"PK\x05\x06" + bytes(18)):
        path.write_bytes(raw)
        with pytest.raises(BadInput, match=r"20ng\.zip"):
            load("newsgroups20", data_dir=tmp_path, valid=20)


def test_missing(tmp_path):
    with pytest.raises(BadInput, match=r"20ng\.zip.*data fetch newsgroups20"):
        load("newsgroups20", data_dir=tmp_path)


def test_lines_of_other_programs():
    bags = parse_counts([b"-1 2:3 5:40000 # a comment", b"  7\t1:1 ", b"", b"3"], "it")
    assert bags.counts.tolist() == [[0, 3, 0, 0, 40000], [1, 0, 0, 0, 0], [0] * 5]
    assert bags.counts.dtype == np.int32
    assert bags.labels.tolist() == [-1, 7, 3]
    assert parse_counts([b"1 1:2"], "it", 3).counts.tolist() == [[2, 0, 0]]
    with pytest.raises(BadInput, match="more than"):
        parse_counts([b"1 999999999:1"] * 3, "it")
    assert parse_words([b"a 3", b"", b"b"], "it") == ("a", "b")


@pytest.mark.parametrize("name", ["mine.feat", "mine.feat.gz"])
def test_a_file_of_ones_own(tmp_path, name):
    counts, labels = documents(100)
    raw = lines(counts, labels).encode()
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
    data = load(tmp_path / name)
    assert data.name == "mine"
    assert data.shape == (12,)
    assert [len(part) for part in data.parts.values()] == [80, 10, 10]
    assert int(sum(part.x.long().sum() for part in data.parts.values())) == counts.sum()
