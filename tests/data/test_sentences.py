"""Sentences as one flat run of ids."""

import numpy as np
import pytest
import torch

from uncollapse.data import sentences
from uncollapse.data.sentences import Collector, Sentences, as_data_set, cut_longest, padded
from uncollapse.data.vocabulary import decode
from uncollapse.errors import BadInput


def collect(*lines, labels=None):
    collector = Collector()
    return collector, collector.read([line.encode() for line in lines], "it", labels)


def random_sentences(n=200, words=30, seed=0):
    rng = np.random.default_rng(seed)
    return [[int(w) for w in rng.integers(0, words, rng.integers(1, 12))] for _ in range(n)]


def packed(rows):
    return Sentences(np.concatenate(rows).astype(np.int32), np.cumsum([len(row) for row in rows]))


def unpacked(part):
    return [piece.tolist() for piece in np.split(part.flat, part.ends[:-1])]


def test_picking_and_joining_are_those_of_lists():
    rows = random_sentences()
    index = np.random.default_rng(1).permutation(200)[:77]
    part = packed(rows)
    assert unpacked(part.pick(index)) == [rows[k] for k in index]
    assert unpacked(part.join(part.pick(index))) == rows + [rows[k] for k in index]
    assert part.lengths.tolist() == [len(row) for row in rows]
    assert len(part.pick(np.array([], int))) == 0
    assert len({*part.keys()}) == len({tuple(row) for row in rows})


@pytest.mark.parametrize(("longest", "rows_at_once"), [(20, 2**15), (4, 2**15), (4, 7)])
def test_padding_is_that_of_a_loop(monkeypatch, longest, rows_at_once):
    monkeypatch.setattr(sentences, "ROWS", rows_at_once)
    rows = random_sentences()
    ids = np.random.default_rng(2).integers(3, 200, 30).astype(np.uint8)
    found = padded(packed(rows), ids, longest)
    assert found.dtype == np.uint8
    for got, row in zip(found, rows, strict=True):
        kept = [int(ids[word]) for word in row[:longest]]
        assert got.tolist() == [*kept, 2] + [0] * (longest - len(kept))


def test_words_split_at_blanks_and_empty_lines_left_out():
    collector, part = collect(" the cat ", "", "   ", "the\u00a0dog  sat")
    assert unpacked(part) == [[0, 1], [2, 3]]
    assert list(collector.words) == [b"the", b"cat", "the\u00a0dog".encode(), b"sat"]
    assert part.y is None


def test_labels_are_seen_from_the_first_line():
    collector, part = collect("10\ta b", "", "9\tb", "10\tc")
    assert unpacked(part) == [[0, 1], [1], [2]]
    names, place = collector.classes()
    assert names == ("9", "10")
    assert place[part.y].tolist() == [1, 0, 1]
    collector, part = collect("pos\ta", "neg\tb")
    assert collector.classes()[0] == ("neg", "pos")
    assert collect("a\tb", "c", labels=False)[1].y is None
    assert collect("a b\tc", "d")[1].y is None
    assert collect("a\tb\tc", "d")[1].y is None
    with pytest.raises(BadInput, match=r"line 2 of it has no label.*labels=False"):
        collect("1\ta", "b")


def test_a_vocabulary_of_the_training_part_alone():
    collector, part = collect("b b a", "c a b", "d d d d e")
    parts = {"train": part.pick(np.array([0, 1])), "valid": part.pick(np.array([2, 0])), "test": part}
    data = as_data_set(collector, parts, 2, None, name="it")
    assert data.vocabulary == ("<pad>", "<s>", "</s>", "_UNK", "b", "a")
    assert data.train.x.tolist() == [[4, 4, 5, 2, 0, 0], [3, 5, 4, 2, 0, 0]]
    assert data.valid.x[0].tolist() == [3, 3, 3, 3, 3, 2]
    assert data.likelihood_setting == {"tokens": 6}
    assert data.train.tokens
    assert data.train.x.dtype == torch.uint8
    assert data.train.lengths.tolist() == [4, 4]
    assert decode(data.test.x, data.vocabulary)[0] == "b b a"


def test_ties_follow_the_first_occurrence_in_training():
    collector, part = collect("x y", "z y", "x z")
    train = part.pick(np.array([1, 2]))  # z y x z
    assert collector.vocabulary(train, None)[4:] == ("z", "y", "x")


def test_limits(monkeypatch):
    monkeypatch.setattr(sentences, "MAX_WORDS", 3)
    with pytest.raises(BadInput, match="more than 3 different words"):
        collect("a b c d")
    with pytest.raises(BadInput, match="1000 different labels"):
        collect(*(f"{k}\ta" for k in range(1002)))
    monkeypatch.setattr(sentences, "MAX_TABLE", 100)
    with pytest.raises(BadInput, match="longest="):
        padded(packed(random_sentences()), np.zeros(30, np.uint8), 12)
    with pytest.raises(BadInput, match="no sentence"):
        collect("", " ")
    with pytest.raises(BadInput, match="line 2 of it is not UTF-8"):
        Collector().read([b"a", b"\xff"], "it")
    for wrong in (0, -3, 1.5, True):
        with pytest.raises(BadInput, match="longest"):
            cut_longest([packed([[1, 2]])], wrong)
