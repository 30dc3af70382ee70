"""Text: sentences, molecules, counts and tables; the first byte of an input says which, the rest is the file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzz.attempt import Reader
from fuzz.packing import Plain, in_gzip, packed

__all__ = ["READERS"]

KINDS = {
    b"s": "x.txt",
    b"m": "x.smi",
    b"a": "x.smiles",
    b"f": "x.feat",
    b"c": "x.csv",
    b"l": "x.csv",
    b"t": "x.tsv",
    b"p": "list.txt",
    b"v": "vocab.new",
}
PARTS = (0.4, 0.3, 0.3)


def run(data: bytes, folder: Path) -> Any:
    """The reader that the first byte names."""
    kind = data[:1] if data[:1] in KINDS else b"s"
    path = folder / KINDS[kind]
    path.write_bytes(data[1:])
    return opener(kind)(path)


def opener(kind: bytes) -> Callable[[Path], Any]:
    """What opens a file of a kind."""
    from uncollapse.data import counts, folders, lines, molecules, tables, text

    return {
        b"s": lambda path: written(text.read_text(path, fractions=PARTS)),
        b"m": lambda path: written(molecules.read_molecules(path, fractions=PARTS)),
        b"a": lambda path: written(molecules.read_molecules(path, atoms=False, longest=4, fractions=PARTS)),
        b"f": lambda path: counts.read_feat(path, fractions=PARTS),
        b"c": lambda path: tables.read_csv(path, fractions=PARTS),
        b"l": lambda path: tables.read_csv(path, label="y", drop=["id"], fractions=PARTS),
        b"t": lambda path: tables.read_csv(path, fractions=PARTS),
        b"p": lambda path: folders.by_partition(path.parent, path),
        b"v": lambda path: counts.parse_words(lines.read_lines(path), "the words"),
    }[kind]


def written(made: Any) -> Any:
    """Ids back to words."""
    from uncollapse.data import vocabulary

    return vocabulary.decode(made.train.x, made.vocabulary, made.between)


def mutate(data: bytes, most: int, seed: int, plain: Plain) -> bytes:
    """Keep the first byte nearly always; the rest may be gzipped."""
    if seed % 32 == 0:
        return plain(data, most)
    return data[:1] + in_gzip(data[1:], most - 1, seed // 32, plain)


def seeds() -> dict[str, bytes]:
    """A file of every kind, and odd ones."""
    sentences = b"".join(b"the cat number %d sat\n" % n for n in range(8))
    labelled = b"".join(b"%d\tgood cat %d\n" % (n % 2, n) for n in range(8))
    rows = b"".join(b"%d,%d,%d\n" % (n, n * n, n % 2) for n in range(8))
    plain = {
        "sentences": b"s" + sentences,
        "labelled": b"s" + labelled,
        "bom": b"s\xef\xbb\xbf" + sentences.replace(b"\n", b"\r\n"),
        "molecules": b"m" + b"C[C@@H](Br)c1ccccc1 bromide\nCl\nC%12CC%12\nO\nN\nCC(=O)O\nBr\nc1ccccc1\n",
        "signs": b"aCl\nBr\nCCO\nO\nN\nCC\nCCC\nC1CC1\n",
        "counts": b"f" + b"".join(b"%d 1:%d 3:1 # a\n" % (n % 2, n + 1) for n in range(8)),
        "csv": b"c" + rows,
        "csv-labels": b"l" + b"id,x,y\n" + rows,
        "csv-quotes": b'l"id","x","y"\r\n' + rows.replace(b"\n", b"\r\n"),
        "tsv": b"t" + b"a\tb\n" + b"1.5\t2e3\n-1\tinf\n" * 4,
        "list": b"pimage_id,partition\n000001.jpg,0\n000002.jpg 1\n",
        "words": b"vcat 3\ndog 2\n",
    }
    return plain | {f"{name}.gz": data[:1] + packed(data[1:]) for name, data in plain.items() if data[:1] in b"smf"}


READERS = (Reader("text", run, seeds, mutate, 4096),)
