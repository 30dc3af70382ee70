"""Text: a sentence a line, by name or from the user's own file."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from uncollapse.data.corpus import Corpus, read_parts, split_parts
from uncollapse.data.dataset import DataSet
from uncollapse.data.lines import read_lines
from uncollapse.data.places import find_folder
from uncollapse.data.published import published
from uncollapse.data.sentences import Collector, as_data_set
from uncollapse.data.source import Source
from uncollapse.data.tensors import FRACTIONS
from uncollapse.errors import BadInput

__all__ = ["SOURCES", "load_text", "read_text"]

WORDS = 20_000


def load_text(
    corpus: Corpus,
    seed: int = 0,
    data_dir: str | Path | None = None,
    vocabulary: int | None = WORDS,
    longest: int | None = None,
    limit: int | None = None,
    valid: int | None = None,
) -> DataSet:
    """A text data set by name; the vocabulary is that of its training part.

    Arguments:
        corpus: which files make it.
        seed: of what is held out and of what `limit` keeps.
        data_dir: searched first.
        vocabulary: most frequent words that have an id of their own; all if None.
        longest: tokens that are kept of a sentence; all if None.
        limit: keep this many training sentences; all if None.
        valid: sentences held out for validation where no file holds them; 1,000 (a tenth, if less) if None.

    Raises:
        BadInput: when files are missing or damaged, or a number makes no sense.
    """
    folder = find_folder(corpus.folders, corpus.files, data_dir)
    if folder is None:
        raise BadInput(next(one for one in SOURCES if one.name == corpus.name).missing(data_dir))
    collector = Collector()
    parts = read_parts(corpus, folder, collector, seed, valid, limit)
    return as_data_set(collector, parts, vocabulary, longest, corpus.classes, **corpus.about)


def read_text(
    path: str | Path,
    seed: int = 0,
    vocabulary: int | None = WORDS,
    longest: int | None = None,
    limit: int | None = None,
    labels: bool | None = None,
    fractions: Sequence[float] = FRACTIONS,
) -> DataSet:
    """A data set from a text file, a sentence a line, words parted by blanks; plain or gzipped.

    Arguments:
        path: the file.
        seed: of the split.
        vocabulary, longest, limit: as for `load_text`.
        labels: whether a label and a tab stand before every sentence; seen from the first line if None.
        fractions: of training, validation and test.

    Raises:
        BadInput: when the file is missing, damaged, no text, or too short to be split.
    """
    collector = Collector()
    whole = collector.read(read_lines(path), str(path), labels)
    parts = split_parts(whole, fractions, seed, limit)
    name = Path(path).name.removesuffix(".gz").removesuffix(".txt")
    return as_data_set(collector, parts, vocabulary, longest, name=name)


def either(*names: str) -> tuple[tuple[str, ...], ...]:
    """Groups of alternatives: each file gzipped or not."""
    return tuple((f"{name}.gz", name) for name in names)


def usual(name: str, held_out: str = "valid") -> dict[str, tuple[tuple[str, ...], ...]]:
    """The files that most collections have."""
    valid = either(f"{name}.valid.txt", f"{name}.val.txt")
    return {
        "train": either(f"{name}.train.txt"),
        held_out: ((*valid[0], *valid[1]),),
        "test": either(f"{name}.test.txt"),
    }


def sentiment(part: str) -> tuple[tuple[str, ...], ...]:
    """The two files of a part of the short Yelp sentences."""
    return either(f"sentiment.{part}.0", f"sentiment.{part}.1")


MARCUS = (
    "Marcus, Santorini, Marcinkiewicz, 1993, Building a Large Annotated Corpus of English, Computational Linguistics "
    "19(2); prepared by Mikolov et al., 2010, Interspeech"
)
YANG = (
    "Yang, Hu, Salakhutdinov, Berg-Kirkpatrick, 2017, https://arxiv.org/abs/1702.08139; the raw corpus: Zhang, Zhao, "
    "LeCun, 2015, https://arxiv.org/abs/1509.01626"
)
SHEN = "Shen, Lei, Barzilay, Jaakkola, 2017, Style Transfer from Non-Parallel Text, https://arxiv.org/abs/1705.09655"
BOWMAN = "Bowman, Angeli, Potts, Manning, 2015, https://arxiv.org/abs/1508.05326"
LDC = "not stated with the files; the text is the Linguistic Data Consortium's Treebank-3, whose terms apply"
HELD_OUT = {
    "yahoo": "trained on the published validation part, a piece of which is held out for validation",
    "yelp": "trained on the published test part; validated and tested on halves of the published validation part, "
    "without sentences that repeat or that the training part has",
}
FEELING = ("negative", "positive")
YAHOO, YELP = ("yahoo", "yahoo_data"), ("yelp", "yelp_data", "yelp-short")
TERMS = "not stated with the files"
APACHE = "Apache-2.0 for the repository that has the files; the terms of the Yelp reviews are not stated there"

CORPORA = {
    one.name: one
    for one in (
        Corpus("ptb", ("ptb", "ptb_data", "penn"), usual("ptb"), labels=False, citation=MARCUS, licence=LDC),
        Corpus("yahoo", YAHOO, usual("yahoo"), citation=YANG, licence=TERMS),
        Corpus(
            "yahoo-held-out",
            YAHOO,
            {"train": usual("yahoo")["valid"], "test": usual("yahoo")["test"]},
            citation=YANG,
            licence=TERMS,
            note=HELD_OUT["yahoo"],
        ),
        Corpus("yelp", YELP, usual("yelp"), citation=YANG, licence=TERMS),
        Corpus(
            "yelp-short",
            YELP,
            {"train": sentiment("train"), "valid": sentiment("dev"), "test": sentiment("test")},
            FEELING,
            labels=False,
            citation=SHEN,
            licence=APACHE,
        ),
        Corpus(
            "yelp-short-held-out",
            YELP,
            {"train": sentiment("test"), "both": sentiment("dev")},
            FEELING,
            labels=False,
            citation=SHEN,
            licence=APACHE,
            note=HELD_OUT["yelp"],
        ),
        Corpus("snli", ("snli", "snli_data"), usual("snli"), citation=BOWMAN, licence="CC BY-SA 4.0"),
    )
}


def described(
    name: str, what: str, size: tuple[int, int, int] = (0, 0, 0), length: int = 0, by_hand: str = ""
) -> Source:
    """The line in the catalogue of one of the collections; `length` counts the end of the sentence."""
    corpus = CORPORA[name]
    return Source(
        name=name,
        what=what,
        shape=(length,),
        size=size,
        load=partial(load_text, corpus),
        folders=corpus.folders,
        files=corpus.files,
        remote=published(name),
        by_hand=by_hand,
        citation=corpus.citation,
        licence=corpus.licence,
        width=2,
        stands_in_for=name.removesuffix("-held-out") if name.endswith("-held-out") else "",
    )


SOURCES = (
    described("ptb", "sentences of the Penn Treebank, lower case, rare words as <unk>", (42_068, 3370, 3761), 83),
    described(
        "yahoo",
        "questions and answers of Yahoo, 20 to 200 words",
        (100_000, 10_000, 10_000),
        by_hand="the training part comes with https://github.com/jxhe/vae-lagging-encoder (its prepare_data.py); "
        "yahoo-held-out does without it",
    ),
    described(
        "yahoo-held-out",
        "questions and answers of Yahoo, trained on the published validation part",
        (9000, 1000, 10_000),
        201,
    ),
    described(
        "yelp",
        "reviews of Yelp, long documents",
        (100_000, 10_000, 10_000),
        by_hand="they come with https://github.com/jxhe/vae-lagging-encoder (its prepare_data.py)",
    ),
    described(
        "yelp-short",
        "sentences from reviews of Yelp, at most 15 words, with their sentiment",
        by_hand="they are data/yelp/ of https://github.com/shentianxiao/language-style-transfer; yelp-short-held-out "
        "does without the training files",
    ),
    described(
        "yelp-short-held-out",
        "sentences from reviews of Yelp, trained on the published test part",
        (126_670, 27_443, 27_444),
        16,
    ),
    described(
        "snli",
        "sentences of the Stanford Natural Language Inference corpus, one a line",
        by_hand="they come with https://github.com/bohanli/vae-pretraining-encoder (its prepare_data.py)",
    ),
)
