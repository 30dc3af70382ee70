"""Data sets from what people have in hand: tensors, arrays, pairs of them."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from uncollapse.data.dataset import DataSet
from uncollapse.data.part import Part, check_examples, check_labels
from uncollapse.errors import BadInput, ShapeError

__all__ = ["as_data", "as_values", "from_tensors", "split_index"]

FRACTIONS = (0.8, 0.1, 0.1)


def from_tensors(
    x: Any,
    y: Any = None,
    *,
    valid: Any = None,
    test: Any = None,
    name: str = "tensors",
    likelihood: str | None = None,
    scale: float = 1.0,
    divisor: float | None = None,
    binarise: str = "none",
    fractions: Sequence[float] = FRACTIONS,
    classes: Sequence[str] = (),
    seed: int = 0,
    citation: str = "",
    licence: str = "",
    note: str = "",
) -> DataSet:
    """A data set from tensors or arrays.

    Arguments:
        x: (N, *X), the examples; all of them when `valid` is None, else the training part.
        y: (N,) whole numbers, or None.
        valid, test: held-out examples, each (N, *X) or a pair (x, y). Without `test`, `valid` serves as both.
        name: what tables call it.
        likelihood: "bernoulli" or "gaussian"; if None, Bernoulli where all values lie in [0, 1].
        scale: standard deviation of the Gaussian likelihood.
        divisor: the stored number that means 1; if None, 255 for bytes that exceed 1, else 1.
        binarise: "none", "fixed" or "dynamic" (the held-out parts are then fixed).
        fractions: of training, validation and test when there is no `valid`; split by class where there are labels.
        classes: names of the labels.
        seed: of the split and of the fixed draws.
        citation, licence, note: for people.

    Raises:
        ShapeError, BadInput: when the data are too few, not finite, of the wrong shape or out of range.

    Example:
        >>> from_tensors(torch.rand(100, 1, 8, 8))
        DataSet('tensors', (1, 8, 8), train/valid/test 80/10/10, bernoulli)
    """
    whole = stored(x, y)
    if valid is None and test is not None:
        raise BadInput("a test part needs a validation part beside it: pass valid= too")
    if valid is None:
        check_examples(whole[0])
        if whole[1] is not None:
            check_labels(whole[1], len(whole[0]))
        pieces = [pick(whole, index) for index in split_index(len(whole[0]), fractions, whole[1], seed)]
    else:
        held_out = pair(valid)
        pieces = [whole, held_out, held_out if test is None else pair(test)]
    unit = guess_divisor(x, [piece[0] for piece in pieces]) if divisor is None else divisor
    parts = [Part(px, py, unit, seed=3 * seed + place) for place, (px, py) in enumerate(pieces)]
    if likelihood is None:
        inside = all(part.range[0] >= 0 and part.range[1] <= 1 for part in parts)
        likelihood = "bernoulli" if inside else "gaussian"
    made = DataSet(
        name,
        train=parts[0],
        valid=parts[1],
        test=parts[2],
        likelihood=likelihood,
        scale=scale,
        classes=tuple(classes),
        citation=citation,
        licence=licence,
        note=note,
    )
    return made if binarise == "none" else made.binarised(binarise)


def as_data(data: Any, seed: int = 0) -> DataSet:
    """Whatever a user brings, as a data set; values are taken as they are, nothing is binarised.

    Arguments:
        data: a `DataSet`; a torch `TensorDataset`; a `Dataset` or `DatasetDict` of Hugging Face's library; a tensor or
            array (N, *X); a pair (x, labels); a pair (train, valid) or a triple (train, valid, test), each of which is
            a tensor, an array or a pair (x, labels).
        seed: of the split, where one is made.

    Raises:
        ShapeError, BadInput: when the data are something else, or not fit for training.

    Example:
        >>> as_data((torch.rand(50, 4), torch.rand(20, 4)))
        DataSet('tensors', (4,), train/valid/test 50/20/20, bernoulli)
    """
    if isinstance(data, DataSet):
        return data
    if isinstance(data, TensorDataset):
        data = data.tensors if len(data.tensors) > 1 else data.tensors[0]
    if isinstance(data, Tensor | np.ndarray):
        return from_tensors(data, seed=seed)
    if type(data).__module__.startswith("datasets."):
        from uncollapse.data.huggingface import from_object  # it builds on this file

        return from_object(data, seed)
    if isinstance(data, tuple | list) and 2 <= len(data) <= 3 and all(map(is_piece, data)):
        if len(data) == 2 and is_labels(data):
            return from_tensors(*data, seed=seed)
        return from_tensors(*pair(data[0]), valid=data[1], test=data[2] if len(data) == 3 else None, seed=seed)
    raise ShapeError(
        "data should be a data set, a tensor or array (N, *X), a pair (x, labels) or (train, valid), or a triple "
        f"(train, valid, test), got a {type(data).__name__}; training shuffles and binarises by itself, so give it the "
        "tensors behind a loader"
    )


def split_index(n: int, fractions: Sequence[float], y: Tensor | None = None, seed: int = 0) -> list[Tensor]:
    """Disjoint indices of the parts, in the order of the data; every class is spread evenly over the parts.

    Arguments:
        n: examples.
        fractions: one a part; they add up to 1.
        y: (n,) labels, or None for a plain random split.
        seed: of the split.

    Raises:
        BadInput: when the fractions make no sense or a part would have fewer than two examples.

    Example:
        >>> [len(index) for index in split_index(10, (0.6, 0.2, 0.2))]
        [6, 2, 2]
    """
    if len(fractions) < 2 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise BadInput(f"fractions should be positive and add up to 1, got {tuple(fractions)}")
    ends = [round(sum(fractions[: place + 1]) * n) for place in range(len(fractions))]
    sizes = np.diff([0, *ends])
    if min(sizes) < 2:
        raise BadInput(
            f"{n} examples are too few for parts of {', '.join(f'{f:.0%}' for f in fractions)}: each part needs "
            "two; bring more examples, or pass (train, valid)"
        )
    order = mixed(n, None if y is None else y.numpy(), seed)
    return [torch.from_numpy(np.sort(piece)) for piece in np.split(order, ends[:-1])]


def mixed(n: int, y: np.ndarray | None, seed: int) -> np.ndarray:
    """A random order of n examples; with labels, every stretch of it holds the classes in their overall shares."""
    generator = np.random.default_rng(seed)
    order = generator.permutation(n)
    if y is None:
        return order
    labels, place = y[order], np.empty(n)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        place[members] = (np.arange(len(members)) + generator.random()) / len(members)
    return order[np.argsort(place, kind="stable")]


def stored(x: Any, y: Any) -> tuple[Tensor, Tensor | None]:
    """Examples and labels in the smallest honest type, on the device where they are."""
    return smallest(tensor_of(x, "examples")), None if y is None else labels_of(y)


def pair(piece: Any) -> tuple[Tensor, Tensor | None]:
    """Examples and labels of a piece that may have none."""
    return stored(*piece) if isinstance(piece, tuple | list) and len(piece) == 2 else stored(piece, None)


def pick(piece: tuple[Tensor, Tensor | None], index: Tensor) -> tuple[Tensor, Tensor | None]:
    """Some of the examples."""
    x, y = piece
    return x[index.to(x.device)], None if y is None else y[index]


def tensor_of(value: Any, what: str) -> Tensor:
    """A tensor from a tensor or array."""
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, np.ndarray) and value.dtype.kind in "buif":
        native = np.ascontiguousarray(known_to_torch(value, what))
        return torch.from_numpy(native if native.flags.writeable else native.copy())
    kind = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
    raise ShapeError(f"{what} should be a tensor or a numeric array, got {kind}")


def known_to_torch(value: np.ndarray, what: str) -> np.ndarray:
    """Numbers in native byte order and in a type that torch can compare: it has no extrema of unsigned ones."""
    kind = value.dtype.newbyteorder("=")
    if kind.kind == "u" and kind.itemsize > 1:
        if kind.itemsize == 8 and value.max(initial=0) >= 2**63:
            raise BadInput(f"{what} should be whole numbers below 2^63, got {value.max()}; bring them as floats")
        kind = np.dtype(np.int32 if kind.itemsize == 2 else np.int64)
    if kind.kind == "f" and kind.itemsize > 8:
        kind = np.dtype(np.float64)
    with np.errstate(over="ignore"):  # what a double cannot hold becomes infinite, and is refused as such
        return value.astype(kind, copy=False)


def smallest(x: Tensor) -> Tensor:
    """Doubles as floats, truth values and small whole numbers as bytes, others as they are."""
    if x.dtype == torch.float64:
        return x.float()
    if x.dtype == torch.bool:
        return x.byte()
    if x.is_floating_point() or x.is_complex() or x.dtype == torch.uint8 or x.numel() == 0:
        return x
    low, high = (int(edge) for edge in x.aminmax())
    return x.byte() if low >= 0 and high <= 255 else x


def labels_of(y: Any) -> Tensor:
    """Labels as whole numbers (N,) on the CPU."""
    labels = tensor_of(y, "labels").cpu()
    if labels.is_floating_point() and not (labels == labels.round()).all():
        raise BadInput("labels should be whole numbers, got fractions or NaN")
    return labels.long()


def guess_divisor(given: Any, pieces: Sequence[Tensor]) -> float:
    """255 for what was given as bytes and exceeds 1, else 1."""
    if str(given.dtype) not in {"uint8", "torch.uint8"}:
        return 1.0
    most = max((int(x.max()) for x in pieces if x.numel()), default=0)
    if 1 < most < 128:
        warnings.warn(
            f"bytes of at most {most} are read as shares of 255; if {most} means full ink, divide by it first, or "
            f"use data.from_tensors(..., divisor={most})",
            stacklevel=3,
        )
    return 255.0 if most > 1 else 1.0


def as_values(x: Any) -> Tensor:
    """A tensor or array as real numbers: bytes above 1 are shares of 255, everything else is taken as it is.

    Example:
        >>> as_values(torch.tensor([0, 255], dtype=torch.uint8))
        tensor([0., 1.])
    """
    with warnings.catch_warnings():  # a memory map that is read only is only read here
        warnings.filterwarnings("ignore", message=".*not writable", category=UserWarning)
        found = torch.as_tensor(x)
    if found.is_floating_point():
        return found
    return found.float() / guess_divisor(found, [found])


def is_piece(value: Any) -> bool:
    """A tensor, an array, or a pair of them."""
    if isinstance(value, tuple | list):
        return len(value) == 2 and all(isinstance(part, Tensor | np.ndarray) for part in value)
    return isinstance(value, Tensor | np.ndarray)


def is_labels(data: Sequence[Any]) -> bool:
    """Whether a pair is (examples, labels) rather than (train, valid)."""
    first, second = data
    return isinstance(first, Tensor | np.ndarray) and isinstance(second, Tensor | np.ndarray) and second.ndim == 1
