"""Sentences in little memory: one flat run of ids for all of them, from files that are not trusted."""

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from uncollapse.data.dataset import DataSet
from uncollapse.data.lines import text_of
from uncollapse.data.part import Part
from uncollapse.data.vocabulary import END, SIGNS, UNKNOWN, build_vocabulary, smallest_type
from uncollapse.errors import BadInput

__all__ = ["Collector", "Sentences", "as_data_set", "cut_longest"]

MAX_WORDS = 5_000_000  # different ones
MAX_TABLE = 2**31  # bytes of the padded rows of a part
MAX_LABEL = 200  # bytes
ROWS = 2**15  # sentences padded at a time
PIECE = 2**22  # words counted at a time


@dataclass(frozen=True, eq=False)
class Sentences:
    """N sentences of different length.

    Arguments:
        flat: ids of all words, one sentence after the other.
        ends: (N,), where each sentence ends.
        y: (N,) labels, or None.
    """

    flat: np.ndarray
    ends: np.ndarray
    y: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def lengths(self) -> np.ndarray:
        """Words of every sentence, (N,)."""
        return np.diff(self.ends, prepend=0)

    def pick(self, index: np.ndarray) -> "Sentences":
        """Some of the sentences, in the order of `index`."""
        begins, lengths = (self.ends - self.lengths)[index], self.lengths[index]
        pieces = [self.flat[begin : begin + length] for begin, length in zip(begins, lengths, strict=True)]
        flat = np.concatenate(pieces) if pieces else self.flat[:0]  # indices of words would take more than the words
        return Sentences(flat, np.cumsum(lengths), None if self.y is None else self.y[index])

    def keys(self) -> list[bytes]:
        """One key a sentence, equal for equal sentences."""
        return [piece.tobytes() for piece in np.split(self.flat, self.ends[:-1])]

    def join(self, other: "Sentences") -> "Sentences":
        """These sentences, then the others."""
        both = None if self.y is None or other.y is None else np.concatenate([self.y, other.y])
        shifted = other.ends + len(self.flat)
        return Sentences(np.concatenate([self.flat, other.flat]), np.concatenate([self.ends, shifted]), both)


@dataclass
class Collector:
    """Numbers words by their first occurrence, across the files of one data set.

    Arguments:
        split: cuts a line into words.
        words: the number of every word so far.
        names: the number of every label so far.
    """

    split: Callable[[bytes], Sequence[bytes]] = bytes.split
    words: dict[bytes, int] = field(default_factory=dict)
    names: dict[bytes, int] = field(default_factory=dict)

    def read(self, lines: Iterable[bytes], what: str, labels: bool | None = None) -> Sentences:
        """The sentences of a file; empty lines are left out.

        Arguments:
            lines: without their ends.
            what: the file, for messages.
            labels: whether a label and a tab stand before each sentence; seen from the first line if None.

        Raises:
            BadInput: when a line is not UTF-8, has no label where others have one, or there are too many words.
        """
        flat, ends, y = array("i"), array("q"), array("i")
        for number, line in enumerate(lines, 1):
            where = f"line {number} of {what}"
            labels = looks_labelled(line) if labels is None and line.strip() else labels
            label, text = self.parted(line, where) if labels and line.strip() else (None, line)
            words = self.cut(text, where)
            if not words:
                continue
            text_of(line, where)
            flat.extend([self.words.setdefault(word, len(self.words)) for word in words])
            ends.append(len(flat))
            if label is not None:
                y.append(self.names.setdefault(label, len(self.names)))
            self.check_size(what)
        if len(ends) < 1:
            raise BadInput(f"{what} holds no sentence; expected one a line")
        known = np.array(y, np.int64) if labels else None
        return Sentences(np.frombuffer(flat, np.int32), np.array(ends, np.int64), known)

    def cut(self, text: bytes, where: str) -> Sequence[bytes]:
        """A line's words."""
        try:
            return self.split(text)
        except BadInput as error:
            raise BadInput(f"{where}: {error}") from error

    def parted(self, line: bytes, where: str) -> tuple[bytes, bytes]:
        """A line's label and text."""
        label, tab, text = line.partition(b"\t")
        if len(label) > MAX_LABEL:
            raise BadInput(f"{where} has a label of {len(label)} bytes; pass labels=False if its tabs mean nothing")
        if not tab or not label.strip():
            raise BadInput(
                f"{where} has no label and tab before the sentence, but the first one has; mend the file, or pass "
                "labels=False if the tabs there mean nothing"
            )
        return label.strip(), text

    def check_size(self, what: str) -> None:
        """Refuse what would fill the memory with words."""
        if len(self.words) > MAX_WORDS:
            raise BadInput(f"{what} has more than {MAX_WORDS} different words; expected tokenised text")
        if len(self.names) > 1000:
            raise BadInput(f"{what} has more than 1000 different labels; pass labels=False if they are none")

    def vocabulary(self, train: Sentences, most: int | None) -> tuple[str, ...]:
        """The signs and the most frequent words of the training part."""
        words = [word.decode() for word in self.words]
        count, first = np.zeros(len(words), np.int64), np.full(len(words), len(train.flat))
        for start in range((len(train.flat) - 1) // PIECE * PIECE, -1, -PIECE):  # backwards: the first place stays
            piece = train.flat[start : start + PIECE]
            found, place, times = np.unique(piece, return_index=True, return_counts=True)
            count[found] += times
            first[found] = start + place
        order = np.argsort(first, kind="stable")
        return build_vocabulary(((words[k], int(count[k])) for k in order), most)

    def ids(self, vocabulary: Sequence[str]) -> np.ndarray:
        """The vocabulary's id of every numbered word."""
        place = {word.encode(): k for k, word in enumerate(vocabulary) if k >= len(SIGNS)}
        return np.array([place.get(word, UNKNOWN) for word in self.words], smallest_type(len(vocabulary)))

    def classes(self) -> tuple[tuple[str, ...], np.ndarray]:
        """Names of the labels, numbers in their order and words in the alphabet's, and the place of each there."""
        known = [text_of(name, "a label") for name in self.names]
        ordered = sorted(known, key=int) if all(name.isascii() and name.isdigit() for name in known) else sorted(known)
        return tuple(ordered), np.array([ordered.index(name) for name in known], np.int64)


def looks_labelled(line: bytes) -> bool:
    """Whether a line is one word, one tab, and a text."""
    label, tab, text = line.partition(b"\t")
    return bool(tab) and len(label.split()) == 1 and bool(text.strip()) and b"\t" not in text


def cut_longest(parts: Iterable[Sentences], longest: int | None) -> int:
    """Words that the longest row has."""
    if longest is not None and (isinstance(longest, bool) or not isinstance(longest, int) or longest < 1):
        raise BadInput(f"longest should be a number of tokens from 1, or None for all, got {longest!r}")
    most = max(int(part.lengths.max()) for part in parts)
    return most if longest is None else min(most, longest)


def padded(part: Sentences, ids: np.ndarray, longest: int) -> np.ndarray:
    """Rows of ids (N, longest + 1): words, end, zeros."""
    if len(part) * (longest + 1) * ids.itemsize > MAX_TABLE:
        raise BadInput(
            f"{len(part)} sentences padded to the longest, {longest} tokens, take more than {MAX_TABLE} bytes; "
            "cut them with longest="
        )
    out, begins = np.zeros((len(part), longest + 1), ids.dtype), part.ends - part.lengths
    for start in range(0, len(part), ROWS):
        rows = slice(start, min(start + ROWS, len(part)))
        keep = np.minimum(part.lengths[rows], longest)
        row = np.repeat(np.arange(len(keep)), keep)
        place = np.arange(keep.sum()) - np.repeat(np.cumsum(keep) - keep, keep)
        piece = out[rows]
        piece[row, place] = ids[part.flat[np.repeat(begins[rows], keep) + place]]
        piece[np.arange(len(keep)), keep] = END
    return out


def as_data_set(
    collector: Collector,
    parts: dict[str, Sentences],
    vocabulary: int | None,
    longest: int | None,
    classes: Sequence[str] = (),
    *,
    name: str,
    citation: str = "",
    licence: str = "",
    note: str = "",
) -> DataSet:
    """The data set of three parts of sentences; the vocabulary is that of the training part.

    Raises:
        BadInput: when a part has fewer than two sentences, or a number makes no sense.
    """
    words = collector.vocabulary(parts["train"], vocabulary)
    most, ids = cut_longest(parts.values(), longest), collector.ids(words)
    names, place = collector.classes() if collector.names else (tuple(classes), None)
    made = {}
    for key, part in parts.items():
        y = part.y if part.y is None or place is None else place[part.y]
        x = torch.from_numpy(padded(part, ids, most))
        made[key] = Part(x, None if y is None else torch.from_numpy(y), tokens=True)
    return DataSet(
        name,
        train=made["train"],
        valid=made["valid"],
        test=made["test"],
        likelihood="tokens",
        vocabulary=words,
        classes=names,
        citation=citation,
        licence=licence,
        note=note,
    )
