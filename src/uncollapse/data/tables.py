"""Tables: numeric columns of .csv, .tsv and .parquet files, and perhaps a column of labels."""

import csv
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from uncollapse.data.dataset import DataSet
from uncollapse.data.idx import MAX_BYTES
from uncollapse.data.tensors import FRACTIONS, from_tensors
from uncollapse.errors import BadInput, Unsupported

__all__ = ["coded", "read_csv", "read_parquet", "tabled"]

MOST_CLASSES = 10_000


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
    path = Path(path)
    left_out = (drop,) if isinstance(drop, str) else tuple(drop)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
            x, labels, columns = read_rows(rows, path, label, left_out)
    except (csv.Error, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not a readable table: {error}") from error
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror or error}") from error
    options = {"binarise": binarise, "scale": scale, "divisor": divisor, "fractions": fractions, "seed": seed}
    return tabled(x, labels, path.stem, likelihood, columns, **options)


def read_rows(
    rows: Iterator[list[str]], path: Path, label: str | None, drop: tuple[str, ...]
) -> tuple[np.ndarray, list[str] | None, list[str]]:
    """Numbers (N, D), labels and names of the columns."""
    first = next(rows, [])
    has_names = not all(is_number(field) for field in first)
    names = [name.strip() for name in first] if has_names else [str(place) for place in range(len(first))]
    kept = chosen(names, label, drop, path)
    place = None if label is None else names.index(label)
    numbers, labels = array("d"), []
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
        if len(numbers) * numbers.itemsize > MAX_BYTES:
            raise BadInput(f"{path} holds more than {MAX_BYTES} bytes of numbers; bring it as .npy")
    x = np.frombuffer(numbers, np.float64) if numbers else np.empty(0)
    return x.reshape(-1, len(kept)).astype(np.float32), labels if label else None, [names[column] for column in kept]


def chain_first(first: list[str], rows: Iterator[list[str]]) -> Iterator[list[str]]:
    """The line that was looked at, and the rest."""
    yield first
    yield from rows


def is_number(field: str) -> bool:
    """Whether a field can be read as a number."""
    try:
        float(field)
    except ValueError:
        return False
    return True


def number_of(field: str, name: str, line: int, path: Path) -> float:
    """The number in a field."""
    try:
        return float(field)
    except ValueError:
        raise BadInput(
            f"line {line} of {path} has {field[:30]!r} in column {name!r}, which is not a number; name it as label=, "
            "leave it out with drop=, or fill it in"
        ) from None


def chosen(names: list[str], label: str | None, drop: tuple[str, ...], path: Path) -> list[int]:
    """Places of the columns that are values."""
    for name in (*drop, *([] if label is None else [label])):
        if name not in names:
            shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
            raise BadInput(f"{path} has no column {name!r}; it has {shown or 'none'}")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BadInput(f"{path} has two columns {twice!r}; give each a name of its own")
    kept = [place for place, name in enumerate(names) if name != label and name not in drop]
    if not kept:
        raise BadInput(f"{path} should have at least one column of numbers")
    return kept


def read_parquet(
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
    """A data set from the numeric columns of a .parquet file.

    Arguments:
        path: the file.
        seed, label, drop, binarise, likelihood, scale, divisor, fractions: as for `read_csv`.

    Raises:
        BadInput: when the file is missing, damaged or too large, or a column does not hold numbers.
        Unsupported: when pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise Unsupported(
            "parquet files need pyarrow, which is not installed: pip install 'uncollapse[data]'"
        ) from error
    path = Path(path)
    try:
        with path.open("rb") as handle:
            file = parquet.ParquetFile(handle)
            x, labels, columns = read_columns(file, path, label, (drop,) if isinstance(drop, str) else tuple(drop))
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise BadInput(f"{path} is not a readable parquet file: {str(error).splitlines()[0]}") from error
    options = {"binarise": binarise, "scale": scale, "divisor": divisor, "fractions": fractions, "seed": seed}
    return tabled(x, labels, path.stem, likelihood, columns, **options)


def read_columns(
    file: Any, path: Path, label: str | None, drop: tuple[str, ...]
) -> tuple[np.ndarray, list[str] | None, list[str]]:
    """Numbers (N, D), labels and names of the columns, a batch of lines at a time."""
    names, n = list(file.schema_arrow.names), file.metadata.num_rows
    columns = [names[place] for place in chosen(names, label, drop, path)]
    if n * len(columns) * 4 > MAX_BYTES:
        raise BadInput(f"{path} announces {n} x {len(columns)} numbers, more than {MAX_BYTES} bytes")
    x, labels, done = np.empty((n, len(columns)), np.float32), [], 0
    for batch in file.iter_batches(batch_size=4096, columns=columns if label is None else [*columns, label]):
        for place, name in enumerate(columns):
            x[done : done + len(batch), place] = numbers_in(batch.column(name), name, path)
        if label is not None:
            labels += [str(value) for value in batch.column(label).to_pylist()]
        done += len(batch)
    return x[:done], None if label is None else labels, columns


def numbers_in(column: Any, name: str, path: Path) -> np.ndarray:
    """A column as numbers; what is missing is NaN."""
    from pyarrow import types

    kind = column.type
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
        raise BadInput(
            f"column {name!r} of {path} holds {kind}, not numbers; name it as label=, or leave it out with drop="
        )
    return np.asarray(column.cast("float32", safe=False).to_numpy(zero_copy_only=False))


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
    names = sorted(set(labels), key=(lambda label: (float(label), label)) if all(map(is_number, labels)) else None)
    if len(names) > MOST_CLASSES:
        raise BadInput(f"labels should name classes, got {len(names)} different ones; is this the right column?")
    place = {name: number for number, name in enumerate(names)}
    return np.array([place[label] for label in labels]), tuple(names)
