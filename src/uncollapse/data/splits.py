"""A validation part held out of a published training part."""

import numpy as np

from uncollapse.data.tensors import mixed
from uncollapse.errors import BadInput

__all__ = ["held_out"]


def held_out(
    y: np.ndarray | None, valid: int, limit: int | None = None, seed: int = 0, n: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training and of the validation examples, each in the order of the data.

    Arguments:
        y: (n,) labels, over which both are spread evenly, or None.
        valid: examples held out.
        limit: keep this many for training, chosen in the same way; the rest if None.
        seed: of the split.
        n: examples in all, where there are no labels.

    Raises:
        BadInput: when fewer than two examples would be left on a side.

    Example:
        >>> [len(index) for index in held_out(np.arange(100) % 10, valid=20, limit=50)]
        [50, 20]
    """
    size = len(y) if y is not None else int(n or 0)
    if valid < 2 or valid > size - 2 or (limit is not None and not 2 <= limit <= size - valid):
        raise BadInput(
            f"valid and limit should leave at least two of the {size} training examples on each side, "
            f"got valid={valid} and limit={limit}"
        )
    order = mixed(size, y, seed)
    return np.sort(order[: limit or size - valid]), np.sort(order[size - valid :])


def no_ink(binarise: str, likelihood: str) -> None:
    """Refuse settings that colours cannot have.

    Raises:
        BadInput: when colours were to be binarised, or for a likelihood that is not for them.
    """
    if binarise != "none":
        raise BadInput(f'colours and shades are not shares of ink: binarise should be "none", got {binarise!r}')
    if likelihood not in {"discretised-logistic", "gaussian"}:
        raise BadInput(f"likelihood should be discretised-logistic or gaussian, got {likelihood!r}")
