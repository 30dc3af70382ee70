"""Words and their ids: 0 pads, 1 starts and 2 ends a sentence, 3 stands for every word that is not known."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from uncollapse.errors import BadInput, ShapeError

__all__ = ["END", "PADDING", "SIGNS", "START", "UNKNOWN", "build_vocabulary", "decode", "encode", "smallest_type"]

SIGNS = ("<pad>", "<s>", "</s>", "_UNK")
PADDING, START, END, UNKNOWN = range(4)
ALIKE = frozenset({*SIGNS, "<unk>"})  # a text that spells a sign means an unknown word, never the sign itself


def build_vocabulary(counts: Iterable[tuple[str, int]], most: int | None = None) -> tuple[str, ...]:
    """The four signs and the most frequent words.

    Arguments:
        counts: words with how often the training part has them, in order of first occurrence: it decides ties.
        most: words that are kept, the four signs not counted; all if None.

    Raises:
        BadInput: when `most` is no positive number.

    Example:
        >>> build_vocabulary([("dog", 1), ("cat", 2), ("<unk>", 9), ("cow", 1)], 2)
        ('<pad>', '<s>', '</s>', '_UNK', 'cat', 'dog')
    """
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
        raise BadInput(f"vocabulary should be a number of words from 1, or None for all, got {most!r}")
    words = [(word, count) for word, count in counts if word not in ALIKE and count > 0]
    words.sort(key=lambda pair: -pair[1])  # stable: ties stay in order of occurrence
    return (*SIGNS, *(word for word, _ in words[:most]))


def encode(
    sentences: Iterable[str | Sequence[str]],
    vocabulary: Sequence[str],
    longest: int | None = None,
    split: Callable[[str], Sequence[str]] = str.split,
) -> Tensor:
    """Sentences as rows of ids: the words, then 2, then zeros.

    Arguments:
        sentences: N texts, or lists of words.
        vocabulary: what the ids stand for, as in `DataSet.vocabulary`.
        longest: words that are kept of a sentence; all if None.
        split: cuts a text into words; at blanks by default.

    Returns:
        (N, T), in the smallest type that holds the ids; T is the longest sentence and its end.

    Raises:
        BadInput: when there is no sentence.

    Example:
        >>> encode(["a cat", "the cat sat"], ("<pad>", "<s>", "</s>", "_UNK", "cat", "sat"))
        tensor([[3, 4, 2, 0],
                [3, 4, 5, 2]], dtype=torch.uint8)
    """
    index = {word: place for place, word in enumerate(vocabulary) if word not in ALIKE}
    rows = [
        [index.get(word, UNKNOWN) for word in (split(text) if isinstance(text, str) else text)][:longest]
        for text in sentences
    ]
    if not rows:
        raise BadInput("expected at least one sentence to encode, got none")
    out = np.zeros((len(rows), max(map(len, rows)) + 1), smallest_type(len(vocabulary)))
    for row, ids in zip(out, rows, strict=True):
        row[: len(ids) + 1] = [*ids, END]
    return torch.from_numpy(out)


def decode(ids: Tensor | np.ndarray, vocabulary: Sequence[str], between: str = " ") -> list[str]:
    """Rows of ids as texts, up to the first end or padding; a leading start sign is left out.

    Arguments:
        ids: (N, T) or (T,), whole numbers.
        vocabulary: what they stand for.
        between: what joins the words; nothing for SMILES.

    Raises:
        ShapeError: when the ids are not whole numbers of one of these shapes.
        BadInput: when an id is not in the vocabulary.

    Example:
        >>> decode(torch.tensor([[4, 5, 2, 0], [1, 3, 4, 5]]), ("<pad>", "<s>", "</s>", "_UNK", "a", "cat"))
        ['a cat', '_UNK a cat']
    """
    table = torch.as_tensor(ids)
    if table.is_floating_point() or table.ndim not in {1, 2}:
        raise ShapeError(f"ids should be whole numbers (N, T) or (T,), got {table.dtype} of shape {tuple(table.shape)}")
    rows = (table if table.ndim == 2 else table[None]).tolist()
    highest = max((max(row) for row in rows if row), default=0)
    lowest = min((min(row) for row in rows if row), default=0)
    if lowest < 0 or highest >= len(vocabulary):
        raise BadInput(f"ids should lie in 0 to {len(vocabulary) - 1}, got {lowest} to {highest}")
    return [between.join(vocabulary[one] for one in kept(row)) for row in rows]


def kept(row: list[int]) -> list[int]:
    """The words of a row."""
    stops = [row.index(sign) for sign in (PADDING, END) if sign in row]
    words = row[: min(stops)] if stops else row
    return words[1:] if words[:1] == [START] else words


def smallest_type(size: int) -> type[np.integer]:
    """The smallest type that torch and numpy have for ids below `size`."""
    return np.uint8 if size <= 2**8 else np.int16 if size <= 2**15 else np.int32
