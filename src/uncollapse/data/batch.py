"""Batches that are dictionaries, by the names that people use."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from uncollapse.errors import ShapeError

__all__ = ["INPUTS", "LABELS", "pair_of"]

INPUTS = ("x", "data", "image", "images", "img", "pixel_values", "inputs", "input", "features", "input_ids", "X")
LABELS = ("label", "labels", "y", "target", "targets", "class", "class_id")


def pair_of(batch: Mapping[str, Any]) -> tuple[Any, Any]:
    """(x, labels or None) of a batch that is a dictionary, by the usual names.

    Raises:
        ShapeError: when no usual name is there and not exactly one tensor of two or more dimensions.
    """
    tensors = {key: value for key, value in batch.items() if isinstance(value, Tensor | np.ndarray)}
    name = next((key for key in INPUTS if key in tensors), None)
    others = [key for key, value in tensors.items() if key not in LABELS and value.ndim > 1]
    if name is None and len(others) == 1:
        name = others[0]
    if name is None:
        raise ShapeError(
            f"expected the inputs of a batch under one of {', '.join(INPUTS[:6])}, got a dictionary with "
            f"{', '.join(map(str, batch)) or 'nothing'}; give batches (x, labels) instead"
        )
    label = next((key for key in LABELS if key in batch and key != name), None)
    return tensors[name], None if label is None else batch[label]
