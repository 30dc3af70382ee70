"""Text by name and by path, from small files of the same format."""

import gzip

import numpy as np
import pytest
import torch

from uncollapse.data import decode, load
from uncollapse.errors import BadInput


@pytest.fixture(autouse=True)
def _no_real_data(monkeypatch, tmp_path):
    monkeypatch.delenv("UNCOLLAPSE_DATA", raising=False)
    for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "cache"))


def sentences(n, seed=0, words=40):
    rng = np.random.default_rng(seed)
    return [" ".join(f"w{k}" for k in rng.integers(0, words, rng.integers(1, 9))) for _ in range(n)]


def write(path, lines, zipped=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(raw) if zipped else raw)


def texts(data):
    return {name: decode(part.x, data.vocabulary) for name, part in data.parts.items()}


def test_ptb_with_its_blanks_and_unknown_words(tmp_path):
    lines = [" mr. <unk> is N years old ", " the N cats "]
    for part in ("train", "valid", "test"):
        write(tmp_path / "ptb" / f"ptb.{part}.txt", lines)
    data = load("ptb", data_dir=tmp_path)
    assert data.name == "ptb"
    assert data.vocabulary == ("<pad>", "<s>", "</s>", "_UNK", "N", "mr.", "is", "years", "old", "the", "cats")
    assert data.train.x.tolist() == [[5, 3, 6, 4, 7, 8, 2], [9, 4, 10, 2, 0, 0, 0]]
    batch, labels = next(data.valid.batches(2))
    assert batch.dtype == torch.int64
    assert labels is None
    assert data.citation
    assert data.licence
    for wrong in ({"valid": 1}, {"limit": 5}, {"limit": 1}, {"limit": True}, {"longest": 0}, {"vocabulary": 0}):
        with pytest.raises(BadInput):
            load("ptb", data_dir=tmp_path, **wrong)
    with pytest.raises(BadInput, match="mean 'vocabulary'"):
        load("ptb", data_dir=tmp_path, vocabluary=3)


def test_limits_keep_the_most_frequent_and_the_first_words(tmp_path):
    for seed, part in enumerate(("train", "valid", "test")):
        write(tmp_path / "ptb" / f"ptb.{part}.txt.gz", sentences(60, seed), zipped=True)
    data = load("ptb", data_dir=tmp_path, vocabulary=5, longest=3, limit=20, seed=1)
    assert data.shape == (4,)
    assert len(data.vocabulary) == 9
    assert [len(part) for part in data.parts.values()] == [20, 60, 60]
    whole = load("ptb", data_dir=tmp_path)
    assert set(texts(load("ptb", data_dir=tmp_path, limit=20))["train"]) <= set(texts(whole)["train"])
    assert texts(whole)["test"][3] == " ".join(
        word if word in whole.vocabulary else "_UNK" for word in sentences(60, 2)[3].split()
    )
    other = load("ptb", data_dir=tmp_path, vocabulary=5, longest=3, limit=20, seed=2)
    assert other.fingerprint != data.fingerprint


def test_yahoo_held_out_and_the_whole_one_differ_in_name(tmp_path):
    lines = sentences(50)
    write(tmp_path / "yahoo" / "yahoo.valid.txt.gz", lines, zipped=True)
    write(tmp_path / "yahoo" / "yahoo.test.txt", sentences(20, 1))
    with pytest.raises(BadInput, match=r"yahoo\.train\.txt.*yahoo-held-out"):
        load("yahoo", data_dir=tmp_path)
    data = load("yahoo-held-out", data_dir=tmp_path)
    assert [len(part) for part in data.parts.values()] == [45, 5, 20]
    assert data.name == "yahoo-held-out"
    assert "held out" in data.note
    both = load("yahoo-held-out", data_dir=tmp_path, vocabulary=None, valid=10)
    known = set(both.vocabulary)
    expected = [" ".join(w if w in known else "_UNK" for w in line.split()) for line in lines]
    assert sorted(texts(both)["train"] + texts(both)["valid"]) == sorted(expected)
    assert len(load("yahoo-held-out", data_dir=tmp_path, valid=10, limit=5).train) == 5
    with pytest.raises(BadInput, match="50 training examples"):
        load("yahoo-held-out", data_dir=tmp_path, valid=49)
    write(tmp_path / "yahoo" / "yahoo.train.txt", sentences(30, 2))
    assert [len(part) for part in load("yahoo", data_dir=tmp_path).parts.values()] == [30, 50, 20]


def test_labels_before_a_tab(tmp_path):
    for seed, part in enumerate(("train", "valid", "test")):
        write(tmp_path / "yelp_data" / f"yelp.{part}.txt", [f"{k % 3}\t{s}" for k, s in enumerate(sentences(9, seed))])
    data = load("yelp", data_dir=tmp_path)
    assert data.classes == ("0", "1", "2")
    assert data.train.y.tolist() == [0, 1, 2] * 3
    assert not {"0", "1", "2"} & set(data.vocabulary)


def test_short_yelp_shares_no_sentence_between_its_parts(tmp_path):
    train = [sentences(40, 0, 4), sentences(40, 1, 4)]
    dev = [sentences(60, 2, 4), sentences(50, 3, 4)]
    for k in range(2):
        write(tmp_path / "yelp" / f"sentiment.test.{k}.gz", train[k], zipped=True)
        write(tmp_path / "yelp" / f"sentiment.dev.{k}", dev[k])
    data = load("yelp-short-held-out", data_dir=tmp_path)
    found = texts(data)
    assert found["train"] == train[0] + train[1]
    assert data.train.y.tolist() == [0] * 40 + [1] * 40
    assert data.classes == ("negative", "positive")
    fresh = set(dev[0] + dev[1]) - set(found["train"])
    assert 4 < len(fresh) < 110
    assert sorted(found["valid"] + found["test"]) == sorted(fresh)
    assert abs(len(found["valid"]) - len(found["test"])) <= 1
    y = dict(zip(found["valid"] + found["test"], [*data.valid.y.tolist(), *data.test.y.tolist()], strict=True))
    assert all(y[s] == 0 for s in fresh if s in dev[0])
    assert all(y[s] == 1 for s in fresh if s not in dev[0])
    with pytest.raises(BadInput, match="fixed by its files"):
        load("yelp-short-held-out", data_dir=tmp_path, valid=3)
    for k in range(2):
        write(tmp_path / "yelp" / f"sentiment.dev.{k}", train[k])
    with pytest.raises(BadInput, match="of 80 held-out sentences, 0"):
        load("yelp-short-held-out", data_dir=tmp_path)


@pytest.mark.parametrize("name", ["mine.txt", "mine.txt.gz"])
def test_a_file_of_ones_own(tmp_path, name):
    write(tmp_path / name, sentences(100), zipped=name.endswith("gz"))
    data = load(tmp_path / name)
    assert data.name == "mine"
    assert [len(part) for part in data.parts.values()] == [80, 10, 10]
    assert load(tmp_path / name, seed=1).fingerprint != data.fingerprint
    assert [len(p) for p in load(tmp_path / name, fractions=(0.5, 0.2, 0.3), limit=30).parts.values()] == [30, 20, 30]


def test_a_labelled_file_is_split_by_class(tmp_path):
    write(tmp_path / "x.txt", [f"{'ab'[k % 4 == 0]}\t{s}" for k, s in enumerate(sentences(200))])
    data = load(tmp_path / "x.txt")
    assert data.classes == ("a", "b")
    assert data.valid.y.bincount().tolist() == [15, 5]
    plain = load(tmp_path / "x.txt", labels=False)
    assert plain.train.y is None
    assert "a" in plain.vocabulary


def test_hostile_files(tmp_path):
    for raw, words in (
        (b"", "no sentence"),
        (b"one\n", "too few"),
        (b"a\n\xff\xfe\n", "UTF-8"),
        (b"a\0b\n", "zero byte"),
        (b"a" * 2**21, "more than 1048576"),
        (b"\x1f\x8b\x08trash", "damaged gzip"),
    ):
        path = tmp_path / "x.txt"
        path.write_bytes(raw)
        with pytest.raises(BadInput, match=words):
            load(path)
    with pytest.raises(BadInput, match="there is no file"):
        load(tmp_path / "none.txt")
