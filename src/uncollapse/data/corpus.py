"""Which files make which part of a set of sentences, and what is held out where no file holds a part."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from uncollapse.data.lines import read_lines
from uncollapse.data.places import find_file
from uncollapse.data.sentences import Collector, Sentences
from uncollapse.data.splits import held_out
from uncollapse.data.tensors import mixed, split_index
from uncollapse.errors import BadInput

__all__ = ["HELD_OUT", "Corpus", "read_parts", "split_parts"]

HELD_OUT = 1000


@dataclass(frozen=True)
class Corpus:
    """A set of sentences by name.

    Files of one part are joined. Without "valid", sentences of the training files are held out for validation.
    With "both" in place of "valid" and "test", these are the halves of its files, without sentences that repeat
    or that the training part has.

    Arguments:
        name: of the data set.
        folders: names that its folder may have.
        parts: the files of "train", "valid", "test" and "both"; each with its alternative names.
        classes: names of the labels where every file of a part is one class.
        labels: whether the lines start with a label and a tab; seen from the first line if None.
        citation, licence, note: for people.
    """

    name: str
    folders: tuple[str, ...]
    parts: dict[str, tuple[tuple[str, ...], ...]]
    classes: tuple[str, ...] = ()
    labels: bool | None = None
    citation: str = ""
    licence: str = ""
    note: str = ""

    @property
    def files(self) -> tuple[tuple[str, ...], ...]:
        """Groups of alternative file names."""
        return tuple(group for groups in self.parts.values() for group in groups)

    @property
    def about(self) -> dict[str, str]:
        """What tables and people are told."""
        return {"name": self.name, "citation": self.citation, "licence": self.licence, "note": self.note}


def read_parts(
    corpus: Corpus, folder: Path, collector: Collector, seed: int, valid: int | None, limit: int | None
) -> dict[str, Sentences]:
    """Training, validation and test part from the files in a folder.

    Raises:
        BadInput: when a file is damaged, or `valid` or `limit` make no sense.
    """
    if valid is not None and ("valid" in corpus.parts or "both" in corpus.parts):
        raise BadInput(f"the validation part of {corpus.name} is fixed by its files; leave out valid={valid}")
    read = {part: joined(corpus, folder, collector, groups) for part, groups in corpus.parts.items()}
    train = read["train"]
    if "both" in read:
        first, second = halves(read["both"], train, seed)
        read = {"train": train, "valid": first, "test": second}
    if "valid" not in read:
        some = min(HELD_OUT, len(train) // 10) if valid is None else valid
        kept, out = held_out(train.y, some, limit, seed, len(train))
        return {"train": train.pick(kept), "valid": train.pick(out), "test": read["test"]}
    return {**read, "train": limited(train, limit, seed)}


def split_parts(
    whole: Sentences, fractions: Sequence[float], seed: int, limit: int | None = None
) -> dict[str, Sentences]:
    """Training, validation and test part of sentences that came in one piece."""
    y = None if whole.y is None else torch.from_numpy(whole.y)
    pieces = [whole.pick(index.numpy()) for index in split_index(len(whole), fractions, y, seed)]
    return {"train": limited(pieces[0], limit, seed), "valid": pieces[1], "test": pieces[2]}


def joined(corpus: Corpus, folder: Path, collector: Collector, groups: tuple[tuple[str, ...], ...]) -> Sentences:
    """The files of a part, one after the other."""
    pieces = []
    for number, group in enumerate(groups):
        path = find_file(folder, group) or folder / group[0]
        piece = collector.read(read_lines(path), str(path), corpus.labels)
        if corpus.classes:
            piece = Sentences(piece.flat, piece.ends, np.full(len(piece), number))
        pieces.append(piece)
    whole = pieces[0]
    for piece in pieces[1:]:
        whole = whole.join(piece)
    return whole


def limited(part: Sentences, limit: int | None, seed: int) -> Sentences:
    """Some of the sentences, spread over the classes, in the order of the data."""
    if limit is None:
        return part
    if isinstance(limit, bool) or not isinstance(limit, int) or not 2 <= limit <= len(part):
        raise BadInput(f"limit should be from 2 to the {len(part)} training sentences, got {limit!r}")
    return part.pick(np.sort(mixed(len(part), part.y, seed)[:limit]))


def halves(both: Sentences, train: Sentences, seed: int) -> tuple[Sentences, Sentences]:
    """Two parts of the sentences that occur once and not in training."""
    seen, fresh = set(train.keys()), []
    for place, key in enumerate(both.keys()):
        if key not in seen:
            seen.add(key)
            fresh.append(place)
    if len(fresh) < 4:
        raise BadInput(f"of {len(both)} held-out sentences, {len(fresh)} are not in the training part; four are needed")
    rest = both.pick(np.array(fresh))
    order, middle = mixed(len(rest), rest.y, seed), len(rest) // 2
    return rest.pick(np.sort(order[:middle])), rest.pick(np.sort(order[middle:]))
