"""What people hand over as data, as something that can be read in batches: a table, a loader, an iterator."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.sampler import RandomSampler, SubsetRandomSampler, WeightedRandomSampler

from uncollapse.data.huggingface import is_object, values_of
from uncollapse.errors import BadInput, ShapeError

__all__ = ["table", "unpacked"]

ACCEPTED = "a tensor or array (N, *X), a pair (x, labels), a torch Dataset or DataLoader, or an iterable of batches"
SHUFFLED = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler)


def unpacked(data: Any, labels: Any, batch_size: int) -> tuple[Any, Any]:
    """(data, labels) with tables as tensors or arrays, data sets as loaders, and pairs taken apart.

    What is of no kind that is known is returned as it is: a library's own adapter may know it.

    Raises:
        BadInput, ShapeError: when it cannot be data.
    """
    refuse(data)
    if isinstance(data, DataLoader) and labels is not None and isinstance(data.sampler, SHUFFLED):
        raise BadInput(
            "labels= are in the order of the data set, but the loader shuffles, so that they would be given to the "
            "wrong inputs; pass a loader with shuffle=False, or one that yields (x, labels)"
        )
    if isinstance(data, Tensor | np.ndarray):
        return table(data), labels
    if is_object(data):
        x, y = values_of(data)
        return table(x), y if labels is None else labels
    if isinstance(data, Mapping) or hasattr(data, "batches") or hasattr(data, "obs"):
        return data, labels
    if isinstance(data, Dataset):
        return loader(data, batch_size), labels
    if isinstance(data, tuple | list):
        x, y = collected(data, batch_size)
        return x, y if labels is None else labels
    if hasattr(data, "to_numpy") or (hasattr(data, "__array__") and not hasattr(data, "__next__")):
        return table(data.to_numpy() if hasattr(data, "to_numpy") else np.asarray(data)), labels
    if not isinstance(data, Iterable) and not hasattr(data, "__getitem__"):
        raise BadInput(f"expected data ({ACCEPTED}), got a {type(data).__name__}")
    return data, labels


def refuse(data: Any) -> None:
    """Say it where something else was meant."""
    if isinstance(data, str | Path):
        raise BadInput(
            f"expected data, got the text {str(data)!r}; load it first, for example uncollapse.data.load('mnist').test "
            f"or np.load('x.npy')"
        )
    if isinstance(data, nn.Module):
        raise BadInput(f"expected data, got the model {type(data).__name__}; the model comes first: diagnose(model, x)")
    for name in ("test_dataloader", "val_dataloader"):
        if callable(getattr(data, name, None)) and not hasattr(data, "batches"):
            raise BadInput(f"expected data, got a {type(data).__name__}; pass one of its loaders: data.{name}()")
    if isinstance(data, int | float | bool | bytes):
        raise BadInput(f"expected data ({ACCEPTED}), got {data!r}")


def table(data: Any) -> Any:
    """A tensor or array of real numbers that can be cut into batches.

    Raises:
        BadInput: when it holds words or objects, complex numbers, or nothing.
    """
    if isinstance(data, np.ndarray):
        if data.dtype.kind not in "buif":
            raise BadInput(f"expected data of real numbers, got an array of {data.dtype}; convert it first")
        return data if data.ndim else data[None]
    if data.is_complex():
        raise BadInput("expected data of real numbers, got complex ones; pass torch.view_as_real(x), or abs()")
    if data.device.type == "meta":
        raise BadInput("the data are on the meta device, which holds shapes and no numbers; pass real data")
    data = data.to_dense() if data.layout != torch.strided else data
    return data if data.ndim else data[None]


def loader(data: Any, batch_size: int) -> Iterator[Any]:
    """Batches of a torch Dataset, in its order."""
    batches = iter(DataLoader(data, batch_size=batch_size))
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except TypeError as error:
            raise BadInput(
                f"the examples of the {type(data).__name__} could not be made into batches: {error}; give it a "
                "transform that returns tensors (torchvision: transforms.ToTensor()), or pass a DataLoader"
            ) from error
        yield batch


def collected(data: Sequence[Any], batch_size: int) -> tuple[Any, Any]:
    """(data, labels or None) of a tuple or list: a pair, examples, numbers, or batches (as they are)."""
    if not len(data):
        raise BadInput("the data hold no batch; at least one is needed")
    first = data[0]
    if is_pair(data):
        return table(first if isinstance(first, Tensor) else np.asarray(first)), data[1]
    if isinstance(first, int | float | np.number) or isinstance(flat_first(first), int | float | np.number):
        return table(rectangle(data)), None
    if is_row(first):
        return table(torch.stack([torch.as_tensor(one) for one in data]) if equal(data) else rectangle(data)), None
    if is_example(first):
        return loader(data, batch_size), None
    return list(data), None


def is_pair(data: Sequence[Any]) -> bool:
    """Whether a sequence is (x, labels) or (x, labels, more), with one label for each row of x."""
    if len(data) not in (2, 3) or not is_table(data[0]) or isinstance(data[1], str | Mapping):
        return False
    x, y = data[0], data[1]
    if isinstance(data, tuple) and len(data) == 2 and is_table(y):
        return True
    flat = getattr(y, "ndim", 1) == 1 if not isinstance(y, tuple | list) else not is_table(y[0] if y else 0)
    return hasattr(y, "__len__") and len(y) == len(x) and flat and len(x) > 1


def is_table(value: Any) -> bool:
    """Whether a value is an array with a row for each example."""
    return not isinstance(value, type) and hasattr(value, "shape") and len(value.shape) >= 2


def is_row(value: Any) -> bool:
    """Whether a value is one example: an array of one dimension, which cannot be a batch."""
    return isinstance(value, Tensor | np.ndarray) and value.ndim == 1


def is_example(value: Any) -> bool:
    """Whether a value is one example with its label: (x, 3), {"image": x, "label": 3}."""
    values = list(value.values()) if isinstance(value, Mapping) else value
    if not isinstance(values, tuple | list) or len(values) < 2:
        return False
    arrays = any(isinstance(one, Tensor | np.ndarray) and one.ndim >= 1 for one in values)
    return arrays and any(isinstance(one, int | float | str | np.number) or is_number(one) for one in values)


def is_number(value: Any) -> bool:
    """Whether a value is an array without dimensions."""
    return isinstance(value, Tensor | np.ndarray) and value.ndim == 0


def flat_first(value: Any) -> Any:
    """The first number in nested lists."""
    while isinstance(value, tuple | list) and value:
        value = value[0]
    return value


def equal(rows: Sequence[Any]) -> bool:
    """Whether rows are arrays of one shape."""
    return all(is_row(one) and tuple(one.shape) == tuple(rows[0].shape) for one in rows)


def rectangle(rows: Sequence[Any]) -> np.ndarray:
    """Nested lists as one array.

    Raises:
        ShapeError: when they are of different lengths.
    """
    try:
        return np.asarray(rows, dtype=np.float32)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ShapeError(
            f"expected examples of one shape, got a {type(rows).__name__} of {len(rows)} that do not fit into one "
            "table; pad them to one length"
        ) from error
