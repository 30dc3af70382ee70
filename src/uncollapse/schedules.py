"""Weights as functions of the step: frozen, printable, and aware of when they stop moving.

A schedule is any callable from a step to a number. Ours also say when they arrive at their last value
(`arrives`, in steps), so that early stopping and the comparison of checkpoints wait for them.
"""

from collections.abc import Callable
from dataclasses import dataclass

from uncollapse.errors import BadInput

__all__ = ["Constant", "Cyclical", "Linear", "Schedule", "arrival", "as_schedule"]

Schedule = Callable[[int], float]


@dataclass(frozen=True)
class Constant:
    """The same weight at every step.

    Example:
        >>> Constant(5.0)(100)
        5.0
    """

    value: float = 1.0
    arrives = 0

    def __call__(self, step: int) -> float:
        """The weight at a step."""
        return self.value


@dataclass(frozen=True)
class Linear:
    """A straight line from `start` to `end` over `over` steps, then `end` for ever.

    Arguments:
        start, end: weights.
        over: length of the ramp, steps (at least 1).
        delay: steps spent at `start` first.

    Example:
        >>> [Linear(0, 1, over=4)(step) for step in (0, 2, 4, 9)]
        [0.0, 0.5, 1.0, 1.0]
    """

    start: float
    end: float
    over: int
    delay: int = 0

    def __post_init__(self) -> None:
        if self.over < 1 or self.delay < 0:
            raise BadInput(f"Linear expects over >= 1 and delay >= 0 steps, got over={self.over}, delay={self.delay}")

    @property
    def arrives(self) -> int:
        """The first step at which the weight is final."""
        return self.delay + self.over

    def __call__(self, step: int) -> float:
        """The weight at a step."""
        share = min(max((step - self.delay) / self.over, 0.0), 1.0)
        return self.start + (self.end - self.start) * share


@dataclass(frozen=True)
class Cyclical:
    """Cyclical annealing: `cycles` ramps from `start` to `end`, each followed by a plateau at `end`.

    Within a cycle of T / M steps the weight rises linearly over the first share `ramp` and then stays.

    Arguments:
        over: length T of all cycles together, steps; afterwards the weight stays at `end`.
        cycles: M, the number of cycles.
        ramp: R, the share of a cycle that rises, in (0, 1].

    References:
        Fu et al., 2019, https://arxiv.org/abs/1903.10145, eq. 6-7 (M = 4, R = 0.5).

    Example:
        >>> [Cyclical(over=8, cycles=2)(step) for step in range(9)]
        [0.0, 0.5, 1.0, 1.0, 0.0, 0.5, 1.0, 1.0, 1.0]
    """

    over: int
    cycles: int = 4
    ramp: float = 0.5
    start: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        if self.cycles < 1 or self.over < self.cycles or not 0 < self.ramp <= 1:
            raise BadInput(
                "Cyclical expects over >= cycles >= 1 and 0 < ramp <= 1, "
                f"got over={self.over}, cycles={self.cycles}, ramp={self.ramp}"
            )

    @property
    def arrives(self) -> int:
        """The first step at which the weight is final."""
        return self.over

    def __call__(self, step: int) -> float:
        """The weight at a step."""
        if step >= self.over:
            return self.end
        place = (step * self.cycles / self.over) % 1.0
        return self.start + (self.end - self.start) * min(place / self.ramp, 1.0)


def as_schedule(weight: float | Schedule) -> Schedule:
    """A number becomes a `Constant`; a callable is taken as it is.

    Raises:
        BadInput: when it is neither.

    Example:
        >>> as_schedule(2)
        Constant(value=2.0)
    """
    if callable(weight):
        return weight
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise BadInput(f"a weight is a number or a function of the step, got {type(weight).__name__}")
    return Constant(float(weight))


def arrival(schedule: Schedule) -> int:
    """The step at which a schedule becomes final; 0 for a callable that does not say."""
    return int(getattr(schedule, "arrives", 0))
