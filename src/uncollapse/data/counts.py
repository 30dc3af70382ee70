"""Counts: documents as bags of words, from lines of `label index:count index:count ...`."""

import lzma
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BufferedReader
from pathlib import Path
from typing import IO, cast

import numpy as np

from uncollapse.data.dataset import DataSet
from uncollapse.data.idx import DEFLATE
from uncollapse.data.lines import lines_of, read_lines, text_of
from uncollapse.data.places import find_file, find_folder
from uncollapse.data.published import published
from uncollapse.data.source import Source
from uncollapse.data.splits import held_out
from uncollapse.data.tensors import FRACTIONS, from_tensors
from uncollapse.errors import BadInput, said
from uncollapse.limits import advice, regular, room

__all__ = ["SOURCES", "Bags", "newsgroups20", "parse_counts", "read_feat"]

LINE = re.compile(rb"\s*(-?\d{1,9})((?:\s+\d{1,9}:\d{1,9})*)\s*(?:#.*)?")
MEMBERS = ("train.feat", "test.feat", "vocab.new")
FOLDERS = ("newsgroups20", "20newsgroups", "20ng", "20news")
CHUNK = 2**16
LIKELIHOODS = ("multinomial", "negative-binomial")


@dataclass(frozen=True, eq=False)
class Bags:
    """N documents.

    Arguments:
        counts: (N, V), how often each has every word.
        labels: (N,), as the file has them.
    """

    counts: np.ndarray
    labels: np.ndarray


def parse_counts(lines: Iterable[bytes], what: str, width: int | None = None) -> Bags:
    """Documents from lines of `label index:count ...`, with indices from 1.

    Arguments:
        lines: without their ends; empty ones are left out.
        what: the file, for messages.
        width: words of the vocabulary; the largest index if None.

    Raises:
        BadInput: when a line is something else, names a word twice or one outside the vocabulary.

    Example:
        >>> parse_counts([b"2 1:3 4:1"], "example").counts
        array([[3, 0, 0, 1]], dtype=int16)
    """
    labels, ends, pairs = [], [], [np.zeros((0, 2), np.int64)]
    total = read = 0
    for number, line in enumerate(lines, 1):
        read += len(line)
        if not line.strip():
            continue
        label, found = parse_line(line, f"line {number} of {what}", width)
        labels.append(label)
        pairs.append(found)
        ends.append(total := total + len(found))
    flat = np.concatenate(pairs)
    size = width or int(flat[:, 0].max(initial=0))
    most = int(flat[:, 1].max(initial=0))
    kind = np.int16 if most < 2**15 else np.int32
    if not labels or not size:
        raise BadInput(f"{what} holds no counts; expected lines of `label index:count index:count ...`")
    if len(labels) * size * np.dtype(kind).itemsize > (allowed := room(read)):
        raise BadInput(f"{what} announces {len(labels)} documents of {size} words, {advice(allowed)}")
    counts = np.zeros((len(labels), size), kind)
    counts[np.repeat(np.arange(len(labels)), np.diff(ends, prepend=0)), flat[:, 0] - 1] = flat[:, 1]
    return Bags(counts, np.array(labels, np.int64))


def parse_line(line: bytes, where: str, width: int | None) -> tuple[int, np.ndarray]:
    """Label, and pairs (index, count) of a line."""
    matched = LINE.fullmatch(line)
    if matched is None:
        shown = line[:40].decode("ascii", "backslashreplace")
        raise BadInput(f"{where} should read `label index:count index:count ...` with whole numbers, got {shown!r}")
    numbers = np.array([int(one) for one in matched[2].replace(b":", b" ").split()], np.int64).reshape(-1, 2)
    index = numbers[:, 0]
    if len(index) and (index.min() < 1 or (width is not None and index.max() > width)):
        raise BadInput(f"{where} names words {index.min()} to {index.max()}; expected 1 to {width or 'the last one'}")
    if len(np.unique(index)) != len(index):
        raise BadInput(f"{where} counts the same word twice")
    return int(matched[1]), numbers


def parse_words(lines: Iterable[bytes], what: str) -> tuple[str, ...]:
    """Words of a vocabulary: the first field of every line."""
    words = tuple(fields[0] for line in lines if (fields := text_of(line, what).split()))
    if not words or len(set(words)) != len(words):
        raise BadInput(f"{what} should hold one word a line, each once, got {len(words)}, {len(set(words))} different")
    return words


def newsgroups20(
    seed: int = 0,
    data_dir: str | Path | None = None,
    likelihood: str = "multinomial",
    valid: int = 1000,
    limit: int | None = None,
) -> DataSet:
    """Word counts of 20 Newsgroups over 2,000 words: 11,268 documents to train and 7,505 to test, 20 classes.

    Arguments:
        seed: of the split.
        data_dir: searched first.
        likelihood: "multinomial" or "negative-binomial".
        valid: documents held out of the training part for validation, by class and seed.
        limit: keep this many for training, chosen in the same way; all if None.

    Raises:
        BadInput: when the file is missing or damaged, or a number makes no sense.

    References:
        Miao, Yu, Blunsom, 2016, https://arxiv.org/abs/1511.06038.
    """
    check_likelihood(likelihood)
    folder = find_folder(FOLDERS, SOURCES[0].files, data_dir)
    path = folder and find_file(folder, SOURCES[0].files[0])
    if path is None:
        raise BadInput(SOURCES[0].missing(data_dir))
    with members(path) as files:
        words = parse_words(lines_of(files["vocab.new"], f"vocab.new in {path}"), f"vocab.new in {path}")
        train, test = (
            parse_counts(lines_of(files[name], f"{name} in {path}"), f"{name} in {path}", len(words))
            for name in MEMBERS[:2]
        )
    classes = np.unique(train.labels)
    if not np.isin(test.labels, classes).all():
        raise BadInput(f"{path} tests on labels {np.setdiff1d(test.labels, classes)[:5]} that it does not train on")
    y = np.searchsorted(classes, train.labels)
    kept, out = held_out(y, valid, limit, seed)
    made = from_tensors(
        train.counts[kept],
        y[kept],
        valid=(train.counts[out], y[out]),
        test=(test.counts, np.searchsorted(classes, test.labels)),
        name="newsgroups20",
        likelihood=likelihood,
        divisor=1,
        classes=[str(label) for label in classes],
        seed=seed,
        citation=MIAO,
        licence=TERMS,
    )
    return replace(made, vocabulary=words)


def check_likelihood(likelihood: str) -> None:
    """Refuse what does not describe counts."""
    if likelihood not in LIKELIHOODS:
        raise BadInput(f"counts have likelihood {' or '.join(LIKELIHOODS)}, got {likelihood!r}")


@contextmanager
def members(path: Path) -> Iterator[dict[str, IO[bytes]]]:
    """The three files of the archive, open."""
    try:
        with zipfile.ZipFile(regular(path)) as archive:
            files: dict[str, IO[bytes]] = {}
            for info in archive.infolist():
                name = info.filename.rpartition("/")[2]
                if name in MEMBERS and info.file_size <= DEFLATE * info.compress_size + CHUNK:
                    files[name] = cast("IO[bytes]", BufferedReader(archive.open(info)))
            absent = [name for name in MEMBERS if name not in files]
            if absent:
                raise BadInput(f"{path} should hold {', '.join(MEMBERS)}, but {', '.join(absent)} is missing")
            yield files
    except BadInput:
        raise
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError) as error:
        raise BadInput(f"{path} is a damaged archive ({said(error)}); fetch it again") from error
    except OSError as error:
        raise BadInput(f"cannot read {path}: {said(error)}") from error


def read_feat(
    path: str | Path,
    seed: int = 0,
    likelihood: str = "multinomial",
    fractions: Sequence[float] = FRACTIONS,
) -> DataSet:
    """A data set from a .feat file of lines `label index:count ...` (SVMlight with whole numbers, indices from 1).

    Arguments:
        path: the file, plain or gzipped.
        seed: of the split.
        likelihood: "multinomial" or "negative-binomial".
        fractions: of training, validation and test; split by class.

    Raises:
        BadInput: when the file is missing, damaged or holds something else.
    """
    check_likelihood(likelihood)
    bags = parse_counts(read_lines(path), str(path))
    classes = np.unique(bags.labels)
    return from_tensors(
        bags.counts,
        np.searchsorted(classes, bags.labels),
        name=Path(path).name.removesuffix(".gz").removesuffix(".feat"),
        likelihood=likelihood,
        divisor=1,
        fractions=fractions,
        classes=[str(label) for label in classes],
        seed=seed,
    )


MIAO = (
    "Miao, Yu, Blunsom, 2016, Neural Variational Inference for Text Processing, https://arxiv.org/abs/1511.06038; "
    "Lang, 1995, NewsWeeder, ICML"
)
TERMS = "not stated for the data; the repository that has the file is MIT"

SOURCES = (
    Source(
        name="newsgroups20",
        what="word counts of newsgroup posts, 2,000 words, 20 groups",
        shape=(2000,),
        size=(10_268, 1000, 7505),
        load=newsgroups20,
        folders=FOLDERS,
        files=(("20ng.zip",),),
        remote=published("newsgroups20"),
        citation=MIAO,
        licence=TERMS,
        width=2,
    ),
)
