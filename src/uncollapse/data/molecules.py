r"""Molecules as SMILES strings, one a line, cut into atoms or signs."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
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

__all__ = ["SOURCES", "load_molecules", "read_molecules", "split_smiles"]

ATOMS = re.compile(rb"\[[^\[\]\s]+\]|Br|Cl|%[0-9]{2}|[BCNOPSFIbcnops*()=#$:~./\\+\-0-9@]")
SIGNS = re.compile(rb"[!-~]")


def split_smiles(line: bytes, pattern: re.Pattern[bytes] = ATOMS) -> list[bytes]:
    """The atoms, bonds, rings and branches of a SMILES string; what stands behind a blank is a name and left out.

    Two-letter atoms, atoms in brackets and ring numbers from 10 are one token each.

    Raises:
        BadInput: when the string has a sign that is none of these.

    Example:
        >>> split_smiles(b"C[C@@H](Br)c1ccccc1 bromide")[:5]
        [b'C', b'[C@@H]', b'(', b'Br', b')']
    """
    fields = line.split(maxsplit=1)
    if not fields:
        return []
    smiles = fields[0]
    found = pattern.findall(smiles)
    if b"".join(found) != smiles:
        shown = smiles[:60].decode("ascii", "backslashreplace")
        wrong = pattern.sub(b"", smiles)[:20].decode("ascii", "backslashreplace")
        raise BadInput(f"{shown!r} is not a SMILES string: nothing in it is written {wrong!r}")
    return found


def splitter(atoms: bool) -> Callable[[bytes], list[bytes]]:
    """By atom or sign by sign."""
    return partial(split_smiles, pattern=ATOMS if atoms else SIGNS)


def load_molecules(
    corpus: Corpus,
    seed: int = 0,
    data_dir: str | Path | None = None,
    atoms: bool = True,
    longest: int | None = None,
    limit: int | None = None,
    valid: int | None = None,
) -> DataSet:
    """Molecules by name; the vocabulary is that of the training part.

    Arguments:
        corpus: which files make them.
        seed: of what is held out and of what `limit` keeps.
        data_dir: searched first.
        atoms: whether Br, Cl and atoms in brackets are one token each; else every sign is one.
        longest: tokens that are kept of a string; all if None.
        limit: keep this many molecules for training; all if None.
        valid: molecules held out for validation where no file holds them; 1,000 (a tenth, if less) if None.

    Raises:
        BadInput: when files are missing or damaged, hold something else, or a number makes no sense.

    References:
        Gomez-Bombarelli et al., 2018, https://arxiv.org/abs/1610.02415; Jin, Barzilay, Jaakkola, 2018,
        https://arxiv.org/abs/1802.04364.
    """
    folder = find_folder(corpus.folders, corpus.files, data_dir)
    if folder is None:
        raise BadInput(next(one for one in SOURCES if one.name == corpus.name).missing(data_dir))
    collector = Collector(splitter(atoms))
    parts = read_parts(corpus, folder, collector, seed, valid, limit)
    return replace(as_data_set(collector, parts, None, longest, **corpus.about), between="")


def read_molecules(
    path: str | Path,
    seed: int = 0,
    atoms: bool = True,
    longest: int | None = None,
    limit: int | None = None,
    fractions: Sequence[float] = FRACTIONS,
) -> DataSet:
    """A data set from a .smi or .smiles file: a SMILES string a line, perhaps a blank and a name after it.

    Arguments:
        path: the file, plain or gzipped.
        seed: of the split.
        atoms, longest, limit: as for `load_molecules`.
        fractions: of training, validation and test.

    Raises:
        BadInput: when the file is missing, damaged, holds something else, or is too short to be split.
    """
    collector = Collector(splitter(atoms))
    whole = collector.read(read_lines(path), str(path), labels=False)
    parts = split_parts(whole, fractions, seed, limit)
    name = Path(path).name.removesuffix(".gz").rpartition(".")[0]
    return replace(as_data_set(collector, parts, None, longest, name=name), between="")


JIN = (
    "Jin, Barzilay, Jaakkola, 2018, Junction Tree Variational Autoencoder, https://arxiv.org/abs/1802.04364; "
    "Sterling, Irwin, 2015, ZINC 15, doi:10.1021/acs.jcim.5b00559"
)
MIT = "MIT for the repository that has the files; the terms of ZINC itself are not stated there"
NOTE = "trained on the published validation part, a piece of which is held out for validation"
FILES = {part: (f"{part}.txt", f"{part}.txt.gz") for part in ("train", "valid", "test")}
CORPORA = {
    "zinc": Corpus(
        "zinc",
        ("zinc", "ZINC"),
        {part: (group,) for part, group in FILES.items()},
        labels=False,
        citation=JIN,
        licence=MIT,
    ),
    "zinc-held-out": Corpus(
        "zinc-held-out",
        ("zinc", "ZINC"),
        {"train": (FILES["valid"],), "test": (FILES["test"],)},
        labels=False,
        citation=JIN,
        licence=MIT,
        note=NOTE,
    ),
}


def described(name: str, what: str, size: tuple[int, int, int], length: int = 0, by_hand: str = "") -> Source:
    """The line in the catalogue of one of the sets; `length` counts the end of the string."""
    corpus = CORPORA[name]
    return Source(
        name=name,
        what=what,
        shape=(length,),
        size=size,
        load=partial(load_molecules, corpus),
        folders=corpus.folders,
        files=corpus.files,
        remote=published(name),
        by_hand=by_hand,
        citation=corpus.citation,
        licence=corpus.licence,
        stands_in_for="zinc" if name == "zinc-held-out" else "",
    )


SOURCES = (
    described(
        "zinc",
        "drug-like molecules of ZINC as SMILES strings",
        (0, 24_445, 5000),
        by_hand="they are data/zinc/ of https://github.com/wengong-jin/icml18-jtnn; zinc-held-out does without "
        "train.txt",
    ),
    described(
        "zinc-held-out",
        "drug-like molecules of ZINC, trained on the published validation part",
        (23_445, 1000, 5000),
        69,
    ),
)
