"""Tables in .parquet files, of which nothing is unpacked before its size and type are known."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uncollapse.data.dataset import DataSet
from uncollapse.data.tables import chosen, tabled
from uncollapse.data.tensors import FRACTIONS
from uncollapse.errors import BadInput, UncollapseError, Unsupported, said
from uncollapse.limits import advice, regular, room

__all__ = ["read_parquet"]

ROWS = 4096


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
    path = regular(path)
    try:
        with path.open("rb") as handle:
            file = parquet.ParquetFile(handle)
            if label is not None and pa.types.is_string(kind_of(file, label)):
                file = parquet.ParquetFile(handle, read_dictionary=[label])  # a word that all repeat is unpacked once
            x, labels, columns = read_columns(file, path, label, (drop,) if isinstance(drop, str) else tuple(drop))
    except UncollapseError:
        raise
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise BadInput(f"{path} is not a readable parquet file: {said(error)}") from error
    options = {"binarise": binarise, "scale": scale, "divisor": divisor, "fractions": fractions, "seed": seed}
    return tabled(x, labels, path.stem, likelihood, columns, **options)


def kind_of(file: Any, name: str) -> Any:
    """The type of a column; null where there is none of that name, which is said later."""
    import pyarrow as pa

    schema = file.schema_arrow
    return schema.field(name).type if name in schema.names else pa.null()


def read_columns(
    file: Any, path: Path, label: str | None, drop: tuple[str, ...]
) -> tuple[np.ndarray, list[str] | None, list[str]]:
    """Numbers (N, D), labels and names of the columns, a batch of lines at a time."""
    names, n = list(file.schema_arrow.names), file.metadata.num_rows
    columns = [names[place] for place in chosen(names, label, drop, path)]
    check_columns(file, columns, label, path)
    allowed = room(path.stat().st_size)
    if n < 0 or n * (len(columns) + (label is not None) * 4) * 4 > allowed:
        raise BadInput(f"{path} announces {n} x {len(columns)} numbers, {advice(allowed)}")
    x, labels, done = np.empty((n, len(columns)), np.float32), [], 0
    for batch in file.iter_batches(batch_size=ROWS, columns=columns if label is None else [*columns, label]):
        batch.validate(full=True)
        if done + len(batch) > n:
            raise BadInput(f"{path} announces {n} examples, but holds more; write it anew")
        for place, name in enumerate(columns):
            x[done : done + len(batch), place] = numbers_in(batch.column(place), name, path)
        if label is not None:
            labels += words_in(batch.column(len(columns)))
        done += len(batch)
    return x[:done], None if label is None else labels, columns


def check_columns(file: Any, columns: list[str], label: str | None, path: Path) -> None:
    """Refuse columns that hold something else, before any of their content is unpacked."""
    from pyarrow import types

    schema = file.schema_arrow
    for name in columns:
        numbers_only(schema.field(name).type, name, path)
    kind = None if label is None else schema.field(label).type
    words = kind.value_type if kind is not None and types.is_dictionary(kind) else kind
    if words is not None and not (types.is_string(words) or types.is_large_string(words) or types.is_primitive(words)):
        raise BadInput(f"column {label!r} of {path} holds {kind}; labels should be words or numbers")
    metadata = file.metadata  # of its columns it may not be asked: pyarrow then ends the process on some damaged files
    unpacked = sum(abs(metadata.row_group(place).total_byte_size) for place in range(metadata.num_row_groups))
    if unpacked > (allowed := room(path.stat().st_size)):
        raise BadInput(f"{path} announces {unpacked} bytes when unpacked, {advice(allowed)}")


def words_in(column: Any) -> list[str]:
    """A column of labels as texts; one that is stored once is unpacked once."""
    from pyarrow import types

    if not types.is_dictionary(column.type):
        return [str(value) for value in column.to_pylist()]
    known = [str(value) for value in column.dictionary.to_pylist()]
    return ["None" if place is None else known[place] for place in column.indices.to_pylist()]


def numbers_in(column: Any, name: str, path: Path) -> np.ndarray:
    """A column as numbers; what is missing is NaN."""
    numbers_only(column.type, name, path)
    return np.asarray(column.cast("float32", safe=False).to_numpy(zero_copy_only=False))


def numbers_only(kind: Any, name: str, path: Path) -> None:
    """Refuse a column of another type."""
    from pyarrow import types

    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
        raise BadInput(
            f"column {name!r} of {path} holds {kind}, not numbers; name it as label=, or leave it out with drop="
        )
