"""Tables: numeric columns of .csv and .tsv files, and perhaps a column of labels."""

import csv
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from uncollapse.data.dataset import DataSet
from uncollapse.data.tensors import FRACTIONS, from_tensors
from uncollapse.errors import BadInput, said
from uncollapse.limits import advice, regular, room

__all__ = ["chosen", "coded", "read_csv", "tabled"]

MOST_CLASSES, LONGEST_CLASS = 10_000, 1000
MAX_LINE = 2**24  # characters of one example: a million columns and more


def read_csv(
    path: str | Path,
    seed: int = 0,
    label: str | None = None,
    drop: Sequence[str] = (),
    binarise: str = "none",
    likelihood: str | None = None,
    scale: float = 1.0,
    divisor: float = 1.0,
    fractions: Sequence[float] = FRACTIONS,
) -> DataSet:
    """A data set from a .csv or .tsv file with one example a line.

    Arguments:
        path: the file, UTF-8. The first line holds the names of the columns unless all of it is numbers.
        seed: of the split.
        label: the column that holds labels, numbers or words; none if None.
        drop: columns to leave out, such as identifiers.
        binarise, scale, divisor, fractions: as for `from_tensors`.
        likelihood: if None, Bernoulli where every value is 0 or 1, else Gaussian.

    Raises:
        BadInput: when the file is missing or damaged, or a value of another column than the label is not a number.
    """
    path = regular(path)
    left_out = (drop,) if isinstance(drop, str) else tuple(drop)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = Lines(file, path)
            rows = csv.reader(lines, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
            x, labels, columns = read_rows(lines.counted(rows), path, label, left_out)
    except (csv.Error, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not a readable table: {said(error)}") from error
    except OSError as error:
        raise BadInput(f"cannot read {path}: {said(error)}") from error
    options = {"binarise": binarise, "scale": scale, "divisor": divisor, "fractions": fractions, "seed": seed}
    return tabled(x, labels, path.stem, likelihood, columns, **options)


class Lines:
    """The lines of a table; no more characters reach the memory than one example may have."""

    def __init__(self, file: IO[str], path: Path) -> None:
        self.file, self.path, self.taken, self.number = file, path, 0, 0

    def __iter__(self) -> Iterator[str]:
        while line := self.file.readline(MAX_LINE + 1):
            self.taken, self.number = self.taken + len(line), self.number + 1
            if self.taken > MAX_LINE:  # a quote that is never closed joins lines
                raise BadInput(
                    f"line {self.number} of {self.path} ends an example of more than {MAX_LINE} characters; look for a "
                    "quote that is not closed, or bring so wide a table as .npy"
                )
            yield line

    def counted(self, rows: Iterator[list[str]]) -> Iterator[list[str]]:
        """The examples; each starts to count anew."""
        for row in rows:
            yield row
            self.taken = 0


def read_rows(
    rows: Iterator[list[str]], path: Path, label: str | None, drop: tuple[str, ...]
) -> tuple[np.ndarray, list[str] | None, list[str]]:
    """Numbers (N, D), labels and names of the columns."""
    first = next(rows, [])
    has_names = not all(is_number(field) for field in first)
    names = [name.strip() for name in first] if has_names else [str(place) for place in range(len(first))]
    kept = chosen(names, label, drop, path)
    place = None if label is None else names.index(label)
    numbers, labels, allowed = array("d"), [], room(path.stat().st_size)
    line = 1
    for line, row in enumerate(() if not first else rows if has_names else chain_first(first, rows), 1 + has_names):
        if not row:
            continue
        if len(row) != len(names):
            raise BadInput(f"line {line} of {path} has {len(row)} values, but the first line {len(names)}")
        for column in kept:
            numbers.append(number_of(row[column], names[column], line, path))
        if place is not None:
            labels.append(row[place].strip())
        if len(numbers) * numbers.itemsize > allowed:
            raise BadInput(f"{path} holds numbers that take {advice(allowed)}; or bring it as .npy")
    x = np.frombuffer(numbers, np.float64) if numbers else np.empty(0)
    return x.reshape(-1, len(kept)).astype(np.float32), labels if label else None, [names[column] for column in kept]


def chain_first(first: list[str], rows: Iterator[list[str]]) -> Iterator[list[str]]:
    """The line that was looked at, and the rest."""
    yield first
    yield from rows


def is_number(field: str) -> bool:
    """Whether a field can be read as a number; 1_000 is none, although Python takes it for one."""
    try:
        float(field)
    except ValueError:
        return False
    return "_" not in field


def number_of(field: str, name: str, line: int, path: Path) -> float:
    """The number in a field."""
    if is_number(field):
        return float(field)
    raise BadInput(
        f"line {line} of {path} has {field[:30]!r} in column {name[:60]!r}, which is not a number; name it as label=, "
        "leave it out with drop=, or fill it in"
    )


def chosen(names: list[str], label: str | None, drop: tuple[str, ...], path: Path) -> list[int]:
    """Places of the columns that are values."""
    for name in (*drop, *([] if label is None else [label])):
        if name not in names:
            shown = ", ".join(one[:60] for one in names[:8]) + (", ..." if len(names) > 8 else "")
            raise BadInput(f"{path} has no column {name!r}; it has {shown or 'none'}")
    if len(set(names)) < len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise BadInput(f"{path} has two columns {twice[:60]!r}; give each a name of its own")
    kept = [place for place, name in enumerate(names) if name != label and name not in drop]
    if not kept:
        raise BadInput(f"{path} should have at least one column of numbers")
    return kept


def tabled(
    x: np.ndarray,
    labels: Sequence[str] | None,
    name: str,
    likelihood: str | None,
    columns: Sequence[str],
    **options: Any,
) -> DataSet:
    """A data set from a table; the names of its columns are kept where the values are counts."""
    y, classes = (None, ()) if labels is None else coded(labels)
    if likelihood is None:
        likelihood = "bernoulli" if x.size and ((x == 0) | (x == 1)).all() else "gaussian"
    made = from_tensors(x, y, name=name, likelihood=likelihood, classes=classes, **options)
    return replace(made, vocabulary=tuple(columns)) if likelihood in {"negative-binomial", "multinomial"} else made


def coded(labels: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels as numbers from 0, and their names; in the order of numbers where all are numbers.

    Raises:
        BadInput: when nearly every example has a label of its own.

    Example:
        >>> coded(["10", "9", "10"])
        (array([1, 0, 1]), ('9', '10'))
    """
    longest = max(map(len, labels), default=0)
    found = set(labels) if longest <= LONGEST_CLASS else set()  # comparing words of megabytes takes minutes
    if longest > LONGEST_CLASS or len(found) > MOST_CLASSES:
        odd = f"one of {longest} characters" if longest > LONGEST_CLASS else f"{len(found)} different ones"
        raise BadInput(f"labels should name classes, got {odd}; is this the right column?")
    names = sorted(found, key=(lambda label: (float(label), label)) if all(map(is_number, found)) else None)
    place = {name: number for number, name in enumerate(names)}
    return np.array([place[label] for label in labels]), tuple(names)
