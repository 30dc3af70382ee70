"""Data sets by name or path, and the list of the names."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

from uncollapse.data import (
    builtin,
    cifar10,
    counts,
    h5ad,
    huggingface,
    mnist,
    molecules,
    norb,
    omniglot,
    omniglot_lake,
    parquet,
    pictures,
    svhn,
    tables,
    text,
)
from uncollapse.data.arrays import read_file
from uncollapse.data.dataset import DataSet
from uncollapse.data.source import Source
from uncollapse.errors import BadInput

__all__ = ["Entry", "about", "catalogue", "load", "names"]

SOURCES: dict[str, Source] = {
    one.name: one
    for one in (
        *builtin.SOURCES,
        *mnist.SOURCES,
        *omniglot.SOURCES,
        *omniglot_lake.SOURCES,
        *cifar10.SOURCES,
        *svhn.SOURCES,
        *norb.SOURCES,
        *pictures.SOURCES,
        *text.SOURCES,
        *counts.SOURCES,
        *molecules.SOURCES,
    )
}
READERS: dict[str, Callable[..., DataSet]] = {
    ".npy": read_file,
    ".npz": read_file,
    ".csv": tables.read_csv,
    ".tsv": tables.read_csv,
    ".parquet": parquet.read_parquet,
    ".h5ad": h5ad.read_h5ad,
    ".txt": text.read_text,
    ".txt.gz": text.read_text,
    ".smi": molecules.read_molecules,
    ".smiles": molecules.read_molecules,
    ".smi.gz": molecules.read_molecules,
    ".feat": counts.read_feat,
    ".feat.gz": counts.read_feat,
}  #: files by their ending


@dataclass(frozen=True)
class Entry:
    """What is known about a data set before it is loaded.

    Attributes:
        name: what `load` takes.
        what: one line for people.
        shape: of one example.
        size: examples (train, valid, test) with the default options.
        nbytes: bytes that the stored examples take.
        places: folders where its files are looked for; empty when it needs none.
        present: whether it can be loaded now.
        citation, licence: for people.
    """

    name: str
    what: str
    shape: tuple[int, ...]
    size: tuple[int, int, int]
    nbytes: int
    places: tuple[Path, ...]
    present: bool
    citation: str
    licence: str


def names() -> list[str]:
    """Names that `load` knows.

    Example:
        >>> names()[:3]
        ['digits', 'gaussian-mixture', 'mnist']
    """
    return list(SOURCES)


def about(name: str) -> Source:
    """What is known about one data set.

    Raises:
        BadInput: for an unknown name; the message has the nearest right one.
    """
    if name not in SOURCES:
        raise BadInput(f"unknown data set {name!r}; {hint(name, names())}")
    return SOURCES[name]


def catalogue(data_dir: str | Path | None = None) -> list[Entry]:
    """Every data set that has a name, and whether its files are there.

    Arguments:
        data_dir: searched first, then $UNCOLLAPSE_DATA and the user's cache.

    Example:
        >>> [entry.name for entry in catalogue() if not entry.places]
        ['digits', 'gaussian-mixture']
    """
    return [entry(one, data_dir) for one in SOURCES.values()]


def entry(one: Source, data_dir: str | Path | None = None) -> Entry:
    """One line of the catalogue."""
    return Entry(
        name=one.name,
        what=one.what,
        shape=one.shape,
        size=one.size,
        nbytes=one.nbytes,
        places=one.places(data_dir),
        present=one.present(data_dir),
        citation=one.citation,
        licence=one.licence,
    )


def load(
    name: str | Path,
    seed: int = 0,
    data_dir: str | Path | None = None,
    binarise: str | None = None,
    test: int | None = None,
    **options: Any,
) -> DataSet:
    """A data set by its name or from a file.

    Arguments:
        name: one of `names()`, or the path of a file or folder that a reader knows.
        seed: of the split and of the fixed draws.
        data_dir: folder that is searched first, then $UNCOLLAPSE_DATA and the user's cache.
        binarise: "dynamic", "fixed" or "none"; if None, dynamic for images with a name, none for the rest.
        test: keep only so many examples of the test part, its first ones, for measurements that should be quick; the
            bracket of the information then reaches less far. All if None.
        options: of that data set, such as `size` for the mixture, `valid` and `limit` for the MNIST family,
            `variant` for EMNIST, `divisor`, `likelihood`, `scale` and `fractions` for files.

    Raises:
        BadInput: for an unknown name or option (the message names the nearest right one), and when files are
            missing (the message says what to put where) or damaged.

    Example:
        >>> load("digits", seed=1)
        DataSet('digits', (1, 8, 8), train/valid/test 1257/180/360, bernoulli)
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise BadInput(f"seed should be a whole number from 0, got {seed!r}")
    maker, given = find(name, options)
    if binarise is not None:
        given["binarise"] = binarise
    known = inspect.signature(maker).parameters
    for option in given:
        if option not in known or option in {"seed", "data_dir"}:
            allowed = [key for key in known if key not in {"seed", "data_dir", "name"}]
            raise BadInput(f"unknown option {option!r} of data set {str(name)!r}; {hint(option, allowed)}")
    if "data_dir" in known:
        given["data_dir"] = data_dir
    made = maker(seed=seed, **given)
    return made if test is None else shortened(made, test)


def shortened(made: DataSet, test: int) -> DataSet:
    """The data set with fewer test examples."""
    if isinstance(test, bool) or not isinstance(test, int) or not 2 <= test <= len(made.test):
        raise BadInput(f"test should be a whole number from 2 to the {len(made.test)} test examples, got {test!r}")
    return replace(made, test=made.test.head(test))


def find(name: str | Path, options: dict[str, Any]) -> tuple[Callable[..., DataSet], dict[str, Any]]:
    """What makes the data set, and the options that are left for it."""
    key = str(name)
    if key == "emnist":
        return mnist.variant(options)
    if key in SOURCES:
        return SOURCES[key].load, dict(options)
    path, rest = Path(name).expanduser(), dict(options)
    if key.startswith("hf:"):
        found = huggingface.from_hub(key.removeprefix("hf:"), rest.pop("config", None))
        return partial(huggingface.from_object, found, name=key.rpartition("/")[2].removeprefix("hf:")), rest
    if key and path.is_dir() and any((path / saved).is_file() for saved in huggingface.SAVED):
        return partial(huggingface.from_object, huggingface.from_saved(path), name=path.resolve().name), rest
    if key and path.is_dir():
        return partial(pictures.read_folder, path), rest
    ending = next((known for known in READERS if path.name.lower().endswith(known)), None)
    if ending is None:
        raise BadInput(f"unknown data set {key!r}; {hint(key, names())}, or the path of a {' or '.join(READERS)} file")
    if not path.is_file():
        raise BadInput(f"there is no file {path}; check the path, or take one of {', '.join(names())}")
    return partial(READERS[ending], path), rest


def hint(wrong: str, right: Iterable[str]) -> str:
    """The nearest right name, and all of them."""
    known = list(right)
    near = get_close_matches(wrong, known, 1, 0.4)
    return (f"did you mean {near[0]!r}? " if near else "") + f"known: {', '.join(known) or 'none'}"
