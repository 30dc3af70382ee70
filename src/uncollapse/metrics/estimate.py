"""A number that knows its error."""

import math
from typing import Any, Self

__all__ = ["Estimate", "known_error", "mean_estimate"]


class Estimate(float):
    """A measured value with its standard error; it is a float, so arithmetic and comparison just work.

    Attributes:
        value: the number itself.
        se: its standard error, in the same unit; NaN where none is known.
        n: how many examples it rests on.
        unit: "nats", "units", "share", ...
        flags: remarks that a reader must see, such as "saturated".

    Example:
        >>> Estimate(2.5, se=0.1, n=100, unit="nats")
        2.500 ± 0.100 nats (n = 100)
        >>> Estimate(2.5) > 2
        True
    """

    se: float
    n: int
    unit: str
    flags: tuple[str, ...]

    def __new__(
        cls, value: float, se: float = math.nan, n: int = 0, unit: str = "", flags: tuple[str, ...] = ()
    ) -> Self:
        """A float with attributes, since a float's value is fixed when it is made."""
        self = super().__new__(cls, value)
        self.se, self.n, self.unit, self.flags = float(se), int(n), unit, tuple(flags)
        return self

    def __getnewargs__(self) -> tuple[Any, ...]:
        return (float(self), self.se, self.n, self.unit, self.flags)

    @property
    def value(self) -> float:
        """The number, without its error."""
        return float(self)

    def __repr__(self) -> str:
        error = "" if math.isnan(self.se) else f" ± {self.se:.3f}"
        flags = f" [{', '.join(self.flags)}]" if self.flags else ""
        return f"{float(self):.3f}{error} {self.unit}".rstrip() + f" (n = {self.n}){flags}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is not a finite number becomes null."""
        value, se = (x if math.isfinite(x) else None for x in (float(self), self.se))
        return {"value": value, "se": se, "n": self.n, "unit": self.unit, "flags": list(self.flags)}


def known_error(one: Estimate) -> float:
    """The standard error, in the unit of the estimate; 0 where none is known, so that it can be added.

    Example:
        >>> known_error(Estimate(1.0, se=0.5)), known_error(Estimate(1.0))
        (0.5, 0.0)
    """
    return one.se if math.isfinite(one.se) else 0.0


def mean_estimate(values: Any, unit: str, flags: tuple[str, ...] = ()) -> Estimate:
    """The mean of per-example values (N,) with its standard error s / sqrt(N).

    Example:
        >>> import torch
        >>> mean_estimate(torch.tensor([1.0, 3.0]), "nats")
        2.000 ± 1.000 nats (n = 2)
    """
    values = values.double()
    n = len(values)
    se = float(values.std() / math.sqrt(n)) if n > 1 else math.nan
    return Estimate(float(values.mean()), se, n, unit, flags)
