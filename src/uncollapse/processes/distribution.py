"""Outputs of networks put together from the rows of several processes: tensors, containers, distributions."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

from torch import Tensor
from torch.distributions import Distribution, Independent

__all__ = ["Unknown", "put_together"]


class Unknown(Exception):
    """An output that nobody knows how to put together."""


def put_together(out: Any, rows: int, whole: Callable[[Tensor], Tensor]) -> Any:
    """The same output for all rows.

    Arguments:
        out: tensors whose first dimension is the batch, containers of them, or a distribution.
        rows: how many rows it was made of.
        whole: puts one tensor together.

    Raises:
        Unknown: for anything else.
    """
    if out is None or isinstance(out, str | int | float | bool):
        return out
    if isinstance(out, Tensor):
        if out.ndim == 0 or len(out) != rows:
            raise Unknown(f"a tensor of shape {tuple(out.shape)} for {rows} rows")
        return whole(out)
    if isinstance(out, Distribution):
        return distribution(out, rows, whole)
    if is_dataclass(out) and not isinstance(out, type):
        return replace(
            out, **{one.name: put_together(getattr(out, one.name), rows, whole) for one in fields(out) if one.init}
        )
    if isinstance(out, dict):
        return type(out)((name, put_together(value, rows, whole)) for name, value in out.items())
    if isinstance(out, tuple) and hasattr(out, "_fields"):
        return type(out)(*(put_together(value, rows, whole) for value in out))
    if type(out) in (tuple, list):
        return type(out)(put_together(value, rows, whole) for value in out)
    raise Unknown(type(out).__name__)


def distribution(q: Distribution, rows: int, whole: Callable[[Tensor], Tensor]) -> Distribution:
    """A distribution with batch (rows, ...), rebuilt from its parameters."""
    if type(q) is Independent:
        return Independent(distribution(q.base_dist, rows, whole), q.reinterpreted_batch_ndims, validate_args=False)
    if not type(q).__module__.startswith("torch.distributions"):
        raise Unknown(type(q).__name__)
    given = {name: value for name, value in vars(q).items() if name in q.arg_constraints}
    try:
        rebuild: Any = type(q)
        made: Distribution = rebuild(
            **{name: whole(value) if value.ndim and len(value) == rows else value for name, value in given.items()},
            validate_args=False,
        )
        return made
    except (TypeError, ValueError, AttributeError) as error:
        raise Unknown(type(q).__name__) from error
