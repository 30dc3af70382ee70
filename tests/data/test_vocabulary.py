"""Words and their ids."""

import numpy as np
import pytest
import torch

from uncollapse.data import decode, encode
from uncollapse.data.vocabulary import END, PADDING, SIGNS, START, UNKNOWN, build_vocabulary, smallest_type
from uncollapse.errors import BadInput, ShapeError

WORDS = (*SIGNS, "a", "cat", "sat")


def test_the_signs_have_fixed_places():
    assert [SIGNS[k] for k in (PADDING, START, END, UNKNOWN)] == ["<pad>", "<s>", "</s>", "_UNK"]
    assert (PADDING, START, END, UNKNOWN) == (0, 1, 2, 3)


def test_most_frequent_first_and_ties_as_they_came():
    counts = [("z", 2), ("a", 2), ("m", 5), ("never", 0), ("<unk>", 99), ("_UNK", 9), ("</s>", 9)]
    assert build_vocabulary(counts) == (*SIGNS, "m", "z", "a")
    assert build_vocabulary(counts, 2) == (*SIGNS, "m", "z")
    for wrong in (0, -1, 2.5, True):
        with pytest.raises(BadInput, match="vocabulary"):
            build_vocabulary(counts, wrong)


def test_encode_and_back():
    rows = encode(["a cat sat", "a dog", ""], WORDS)
    assert rows.dtype == torch.uint8
    assert rows.tolist() == [[4, 5, 6, 2], [4, 3, 2, 0], [2, 0, 0, 0]]
    assert decode(rows, WORDS) == ["a cat sat", "a _UNK", ""]
    assert decode(rows[0], WORDS) == ["a cat sat"]
    assert encode([["a", "cat", "sat"]], WORDS, longest=2).tolist() == [[4, 5, 2]]
    assert encode(["sat"], WORDS, split=list).tolist() == [[3, 4, 3, 2]]


def test_text_that_spells_a_sign_is_an_unknown_word():
    assert encode(["</s> <pad> <s> _UNK <unk> a"], WORDS).tolist() == [[3, 3, 3, 3, 3, 4, 2]]


def test_decode_stops_at_the_end_and_leaves_the_start_out():
    assert decode(np.array([[1, 4, 5, 2, 6, 6]]), WORDS) == ["a cat"]
    assert decode(torch.tensor([[4, 5, 6]]), WORDS, between="") == ["acatsat"]
    with pytest.raises(BadInput, match="0 to 6, got 7 to 7"):
        decode(torch.tensor([7]), WORDS)
    with pytest.raises(BadInput, match="got -1"):
        decode(torch.tensor([-1]), WORDS)
    with pytest.raises(ShapeError, match="float"):
        decode(torch.zeros(2, 2), WORDS)
    with pytest.raises(ShapeError, match=r"\(2, 2, 2\)"):
        decode(torch.zeros(2, 2, 2).long(), WORDS)
    with pytest.raises(BadInput, match="at least one sentence"):
        encode([], WORDS)


def test_the_smallest_type():
    assert [smallest_type(size) for size in (256, 257, 2**15, 2**15 + 1)] == [np.uint8, np.int16, np.int16, np.int32]
