"""Labels as people hand them over, as one number an example and a name for each."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from uncollapse.diagnosis.classes import MOST
from uncollapse.distributions import describe
from uncollapse.errors import BadInput

__all__ = ["about", "classes", "one_hot"]


def classes(labels: Any, total: int) -> tuple[Tensor | None, tuple[str, ...]]:
    """Labels as numbers (N,), and their names where they are words; one-hot rows become the place of their one.

    Raises:
        BadInput: when there is not one label an example.
    """
    if labels is None:
        return None, ()
    values = array_of(labels, total)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 2 and values.dtype.kind in "buif" and one_hot(torch.as_tensor(values)):
        values = values.argmax(1)
    if values.ndim != 1 or len(values) != total:
        raise BadInput(
            f"expected one label for each of the {total} examples, got {values.shape[0] if values.ndim else 'one'} "
            f"of shape {values.shape[1:]}; take the same examples for both (drop_last leaves some out), or leave "
            "labels out"
        )
    if values.dtype.kind in "buif":
        return torch.as_tensor(np.array(values)), ()
    names, index = np.unique(values.astype(str), return_inverse=True)
    return torch.as_tensor(index), tuple(str(name) for name in names)


def array_of(labels: Any, total: int) -> np.ndarray:
    """Labels of any kind as an array."""
    if isinstance(labels, str | dict | set) or not (hasattr(labels, "__len__") or hasattr(labels, "__array__")):
        raise BadInput(f"expected one label for each of the {total} examples, got {describe(labels)}: {labels!r:.60}")
    try:
        return labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    except (ValueError, TypeError, RuntimeError) as error:
        raise BadInput(
            f"expected one number or word for each of the {total} examples, got {describe(labels)}: {error}"
        ) from error


def about(values: Tensor | None) -> list[str]:
    """What a reader must know of the labels."""
    if values is None:
        return []
    said, known = [], values[~values.isnan()] if values.is_floating_point() else values
    if len(known) < len(values):
        said.append(f"{len(values) - len(known):,} of {len(values):,} labels are NaN; these inputs belong to no class.")
    different = len(known.unique())  # type: ignore[no-untyped-call]
    if different > MOST:
        said.append(f"The labels take {different:,} different values, too many to be classes; they are only drawn.")
    elif different < 2:
        said.append("All labels are the same, so that there are no classes to tell apart.")
    return said


def one_hot(values: Tensor) -> bool:
    """Whether rows (N, C) of zeros hold a single one each."""
    if values.ndim != 2 or values.shape[1] < 2:
        return False
    return bool(((values == 0) | (values == 1)).all()) and bool((values.sum(1) == 1).all())
