"""Which sentences make which part."""

import numpy as np
import pytest

from uncollapse.data.corpus import Corpus, halves, limited, read_parts, split_parts
from uncollapse.data.sentences import Collector, Sentences
from uncollapse.errors import BadInput


def packed(*rows, y=None):
    return Sentences(np.concatenate(rows).astype(np.int32), np.cumsum([len(row) for row in rows]), y)


def test_files_of_one_part_are_joined_in_order(tmp_path):
    for name, text in {"a.txt": "one\ntwo\n", "b.txt": "three\n", "v.txt": "four\n", "t.txt": "five\n"}.items():
        (tmp_path / name).write_text(text)
    corpus = Corpus(
        "it", ("it",), {"train": (("a.gz", "a.txt"), ("b.txt",)), "valid": (("v.txt",),), "test": (("t.txt",),)}
    )
    assert corpus.files == (("a.gz", "a.txt"), ("b.txt",), ("v.txt",), ("t.txt",))
    collector = Collector()
    parts = read_parts(corpus, tmp_path, collector, 0, None, None)
    assert list(collector.words) == [b"one", b"two", b"three", b"four", b"five"]
    assert parts["train"].flat.tolist() == [0, 1, 2]
    with pytest.raises(BadInput, match="fixed by its files"):
        read_parts(corpus, tmp_path, Collector(), 0, 2, None)


def test_halves_hold_what_is_new_once():
    train = packed([1, 2], [3])
    both = packed([3], [4], [4], [1, 2], [5, 6], [7], [8], [2, 1])
    first, second = halves(both, train, 0)
    found = {*first.keys(), *second.keys()}
    assert len(found) == len(first) + len(second) == 5
    assert not found & set(train.keys())
    with pytest.raises(BadInput, match="four are needed"):
        halves(packed([3], [9]), train, 0)


def test_limit_keeps_the_shares_of_the_classes():
    y = np.repeat([0, 1], [30, 10])
    part = packed(*([k] for k in range(40)), y=y)
    kept = limited(part, 12, 3)
    assert np.bincount(kept.y).tolist() == [9, 3]
    assert (np.diff(kept.flat) > 0).all()
    assert limited(part, None, 0) is part
    for wrong in (1, 41, 2.0, True):
        with pytest.raises(BadInput, match="limit"):
            limited(part, wrong, 0)


def test_parts_of_one_file_make_up_the_whole():
    parts = split_parts(packed(*([k] for k in range(50))), (0.6, 0.2, 0.2), 0)
    assert sorted(np.concatenate([part.flat for part in parts.values()]).tolist()) == list(range(50))
    assert [len(part) for part in parts.values()] == [30, 10, 10]
