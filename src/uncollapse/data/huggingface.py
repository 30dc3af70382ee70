"""Data sets of Hugging Face's library `datasets`: by name, from a folder that it saved, or the object itself."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uncollapse.data.dataset import DataSet
from uncollapse.data.features import columns_in, kind_of, label_in
from uncollapse.data.idx import MAX_BYTES
from uncollapse.data.images import View, show
from uncollapse.data.tables import coded
from uncollapse.data.tensors import FRACTIONS, from_tensors, split_index
from uncollapse.errors import BadInput, Unsupported, said

__all__ = ["SAVED", "from_hub", "from_object", "from_saved", "is_object", "values_of"]

PARTS = {"train": ("train",), "valid": ("validation", "valid", "val", "dev"), "test": ("test",)}
ROWS = 512
SAVED = ("dataset_info.json", "dataset_dict.json")  # one of them is in every folder that the library saved


def library() -> Any:
    """The library, if it is installed."""
    try:
        import datasets
    except ImportError as error:
        raise Unsupported(
            "data sets of Hugging Face need the library datasets, which is not installed: pip install 'uncollapse[hf]'"
        ) from error
    return datasets


def from_hub(name: str, config: str | None = None) -> Any:
    """What the Hub has under a name, by way of the library's own cache.

    Arguments:
        name: such as "ylecun/mnist".
        config: of the data set, where it has several.

    Raises:
        BadInput: when it cannot be had.
        Unsupported: when the library is not installed.
    """
    datasets = library()
    try:
        return datasets.load_dataset(name, config)
    except (OSError, ValueError, RuntimeError) as error:
        raise BadInput(f"{name!r} could not be had from the Hub: {said(error)}") from error


def from_saved(path: str | Path) -> Any:
    """What `save_to_disk` wrote into a folder.

    Raises:
        BadInput: when the folder is damaged.
        Unsupported: when the library is not installed.
    """
    datasets = library()
    try:
        return datasets.load_from_disk(str(path))
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise BadInput(f"{path} is not a readable folder of the library datasets: {said(error)}") from error


def is_object(data: Any) -> bool:
    """Whether this is a data set, or several by name, of that library; it is not imported to find out."""
    kinds = {(kind.__module__.partition(".")[0], kind.__name__) for kind in type(data).__mro__}
    return bool(kinds & {("datasets", "Dataset"), ("datasets", "DatasetDict")})


def from_object(
    data: Any,
    seed: int = 0,
    name: str = "datasets",
    column: str | None = None,
    label: str | None = None,
    binarise: str = "none",
    likelihood: str | None = None,
    scale: float = 1.0,
    size: int | None = None,
    channels: int | None = None,
    fractions: Sequence[float] = FRACTIONS,
) -> DataSet:
    """A data set from an object of the library.

    Arguments:
        data: a `Dataset`, or a `DatasetDict` with train and perhaps validation and test.
        seed: of the split, where one is made.
        name: what tables call it.
        column: pictures, arrays or numbers; if None, the one of a usual name, the only one of pictures or arrays, or
            all columns of numbers together.
        label: the column of labels; if None, the one of a usual name.
        binarise, scale, fractions: as for `from_tensors`.
        likelihood: if None, discretised logistic for pictures, else as for `from_tensors`.
        size: side of pictures in pixels; needed where they differ.
        channels: of pictures, 1 or 3; as the first if None.

    Raises:
        BadInput: when it has no such column, it is too large, or a picture is damaged.
    """
    given = {key: part for key, part in parts_of(data).items() if part is not None}
    if "train" not in given:
        raise BadInput(f"expected a part called train, got {', '.join(map(str, data)) or 'nothing'}")
    columns, label, view = reading(given["train"], column, label, size, channels)
    pictures = view is not None
    arrays = {key: read_part(part, columns, label, view) for key, part in given.items()}
    classes = named(given["train"].features[label], arrays) if label else ()
    return from_tensors(
        **divided(arrays, fractions, seed),
        name=name,
        binarise=binarise,
        likelihood=likelihood or ("discretised-logistic" if pictures and binarise == "none" else None),
        divisor=255 if pictures else None,
        scale=scale,
        fractions=fractions,
        classes=classes,
        seed=seed,
    )


def values_of(data: Any) -> tuple[np.ndarray, Any]:
    """All examples of one part as they are fed to a model, in order, and their labels or None.

    Pictures are shares of 255.

    Raises:
        BadInput: when it is several parts, or it is not clear which column holds the examples.
    """
    if isinstance(data, Mapping):
        raise BadInput(f"expected one part, got {', '.join(map(str, data))}; pass data[{next(iter(data), 'test')!r}]")
    columns, label, view = reading(data, None, None, None, None)
    x, y = read_part(data, columns, label, view)
    values = x if view is None else x.astype(np.float32) / np.float32(255)
    return values, None if y is None else np.asarray(y)


def reading(
    part: Any, column: str | None, label: str | None, size: int | None, channels: int | None
) -> tuple[list[str], str | None, View | None]:
    """Columns of the examples, column of the labels, and how pictures are seen; None where there are none."""
    if len(part) < 2:
        raise BadInput(f"at least two examples are needed, got {len(part)}")
    label = label_in(part.features, label)
    columns = columns_in(part.features, column, label)
    if kind_of(part.features[columns[0]]) != "Image":
        return columns, label, None
    view = View(size, None, channels)
    own = channels or picture(part, columns[0], 0, view).shape[0]
    return columns, label, View(size, None, own)


def parts_of(data: Any) -> dict[str, Any]:
    """The parts under our names."""
    if not isinstance(data, Mapping):
        return {"train": data}
    return {part: next((data[key] for key in names if key in data), None) for part, names in PARTS.items()}


def read_part(
    part: Any, columns: list[str], label: str | None, view: View | None
) -> tuple[np.ndarray, list[Any] | None]:
    """Examples and labels of a part."""
    n = len(part)
    rows = [picture(part, columns[0], 0, view)] if view is not None else [numbers(part, columns, 0, 1)[0]]
    x = np.empty((n, *rows[0].shape), rows[0].dtype)
    if math.prod(x.shape) * x.itemsize > MAX_BYTES:
        raise BadInput(f"examples {x.shape} would take more than {MAX_BYTES} bytes; make pictures smaller with size=")
    if view is not None:
        for place in range(n):
            image = picture(part, columns[0], place, view)
            if image.shape != x.shape[1:]:
                raise BadInput(
                    f"picture {place} is {image.shape}, but the first {x.shape[1:]}; set size=64, for example"
                )
            x[place] = image
    else:
        for start in range(0, n, ROWS):
            x[start : start + ROWS] = numbers(part, columns, start, start + ROWS)
    return x, None if label is None else list(part[label])


def picture(part: Any, column: str, place: int, view: View) -> np.ndarray:
    """One picture, from its packed bytes, so that our own limits hold."""
    packed = part.cast_column(column, type(part.features[column])(decode=False))[place][column]
    source = io.BytesIO(packed["bytes"]) if packed.get("bytes") is not None else Path(str(packed["path"]))
    return show(source, f"picture {place} of column {column!r}", view)


def numbers(part: Any, columns: list[str], start: int, stop: int) -> np.ndarray:
    """Rows (n, *X) of an array column, or of several columns of numbers side by side."""
    rows = part.with_format("numpy", columns=columns)[start:stop]
    arrays = [np.asarray(rows[name]) for name in columns]
    for name, values in zip(columns, arrays, strict=True):
        if values.dtype.kind not in "buif":
            raise BadInput(f"column {name!r} should hold numbers, all rows of one shape, got {values.dtype}")
    return arrays[0] if len(arrays) == 1 and arrays[0].ndim > 1 else np.stack(arrays, 1)


def named(feature: Any, arrays: dict[str, Any]) -> tuple[str, ...]:
    """Names of the labels; the labels themselves become numbers where they are words."""
    names = getattr(feature, "names", None)
    if names:
        return tuple(map(str, names))
    whole, classes = coded([str(value) for _, labels in arrays.values() for value in labels])
    done = 0
    for part, (x, labels) in arrays.items():
        arrays[part] = (x, whole[done : done + len(labels)])
        done += len(labels)
    return classes


def divided(arrays: dict[str, Any], fractions: Sequence[float], seed: int) -> dict[str, Any]:
    """Arguments of `from_tensors`; a validation part is taken from the training part where only a test part came."""
    pairs = {part: (x, None if y is None else np.asarray(y)) for part, (x, y) in arrays.items()}
    x, y = pairs["train"]
    if "test" in pairs and "valid" not in pairs:
        import torch

        share = fractions[0] / (fractions[0] + fractions[1])
        first, second = split_index(len(x), (share, 1 - share), None if y is None else torch.from_numpy(y), seed)
        pairs["valid"] = (x[second], None if y is None else y[second])
        x, y = x[first], None if y is None else y[first]
    return {"x": x, "y": y} | {part: pairs[part] for part in ("valid", "test") if part in pairs}
