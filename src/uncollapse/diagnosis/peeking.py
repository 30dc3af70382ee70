"""The first examples of the data, which adapters are shown, with nothing lost for the pass that follows."""

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from uncollapse.adapters import Adapted
from uncollapse.codes import batches_of, evaluation
from uncollapse.data import as_values
from uncollapse.data.batch import pair_of
from uncollapse.diagnosis.parting import apart
from uncollapse.diagnosis.refusals import reason
from uncollapse.distributions import describe
from uncollapse.errors import BadInput, ShapeError, UncollapseError

__all__ = ["check_first", "peeked", "tried"]

PEEK = 512  #: examples that an adapter is shown


def peeked(data: Any) -> tuple[Any, Any]:
    """The first examples, as an adapter sees them, and the data with nothing missing."""
    with torch.random.fork_rng([]):  # a loader that shuffles draws its order here
        if hasattr(data, "batches"):
            return next(iter(data.batches(PEEK)))[0], data
        if isinstance(data, Tensor | np.ndarray):
            return as_values(data[:PEEK]), data
        if isinstance(data, Mapping):
            return inputs_of([data]), data
        if not isinstance(data, Iterable):
            return data, data
        once, seen, count = iter(data), [], 0
        try:
            while count < PEEK and (batch := next(once, None)) is not None:
                seen.append(batch)
                count += length(batch)
        except UncollapseError:
            raise
        except Exception as error:  # somebody's loader may raise anything
            raise BadInput(f"the data could not be read: {reason(error)}") from error
    if not seen:
        raise BadInput("the data hold no batch; at least one is needed (a generator can be read only once)")
    return inputs_of(seen), chain(seen, once)


def check_first(first: Any) -> None:
    """Refuse no examples, and examples without a dimension of their own.

    Raises:
        ShapeError: for an empty table and for rows of single numbers.
    """
    if isinstance(first, Tensor) and not len(first):
        raise ShapeError("the data hold no example; at least two are needed")
    if isinstance(first, Tensor) and first.ndim < 2:
        raise ShapeError(
            f"data should be (N, *X) with at least one dimension per example, got {describe(first)}; write x[:, None] "
            "where an example is one number, and put the inputs before the labels"
        )


def length(batch: Any) -> int:
    """Examples in a batch, as far as that can be seen."""
    x = first_of(batch)
    return len(x) if isinstance(x, Tensor | np.ndarray) and x.ndim else PEEK


def first_of(batch: Any) -> Any:
    """The inputs of one batch; a dictionary that only a library knows is returned as it is."""
    if isinstance(batch, Mapping) and not any(isinstance(one, Tensor | np.ndarray) for one in batch.values()):
        return batch
    try:
        return apart(batch)[0]
    except ShapeError:
        return batch


def inputs_of(batches: list[Any]) -> Any:
    """The inputs of some batches as one tensor, of the first alone where they do not fit together."""
    parts = [first_of(batch) for batch in batches]
    if not isinstance(parts[0], Tensor | np.ndarray):
        return pair_of(parts[0])[0] if isinstance(parts[0], Mapping) and len(batches) == 1 else parts[0]
    fitting = [as_values(one) for one in parts if getattr(one, "shape", (0,))[1:] == parts[0].shape[1:] and len(one)]
    return torch.cat(fitting or [as_values(parts[0])])[:PEEK]


def tried(adapted: Adapted, first: Any) -> None:
    """Encode a few examples, to say in one sentence what would go wrong with all of them.

    Raises:
        ShapeError: when the encoder does not take the examples, or gives another number of posteriors.
        BadInput: when the encoder writes into its input.
    """
    if not isinstance(first, Tensor) or adapted.prepare is not None:
        return
    module = adapted.model if isinstance(adapted.model, nn.Module) else nn.Identity()
    x, _ = next(batches_of(first[:8], 8, module))
    given = x.clone()
    try:
        with evaluation(module, 0):
            q = adapted.model.posterior(given)
    except UncollapseError:
        raise
    except Exception as error:  # somebody's network may raise anything
        raise ShapeError(
            f"the encoder does not take {describe(x)}: {reason(error)}; hand over the data as in training"
        ) from error
    if not torch.equal(given.nan_to_num(), x.nan_to_num()):
        raise BadInput(
            "the encoder writes into its input, so that every pass would see other data; write x = x.clone() first, "
            "or take inplace=True out of the first layer"
        )
    if len(q.batch_shape) != 1 or len(q.event_shape) != 1 or (len(q.batch_shape) and q.batch_shape[0] != len(x)):
        raise ShapeError(
            f"{len(x)} examples should give posteriors of batch shape ({len(x)},) and event shape (D,), got "
            f"{tuple(q.batch_shape)} and {tuple(q.event_shape)}; wrap a distribution of single numbers in "
            "torch.distributions.Independent(q, 1), and see that no view(-1, ...) mixes the examples"
        )
