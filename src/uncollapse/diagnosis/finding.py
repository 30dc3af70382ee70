"""What one test of a possible cause found, with its numbers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from uncollapse.errors import BadInput

__all__ = ["CAUSES", "Finding", "clear", "found", "untested"]

LAST = "non-identifiable directions"  #: what follows from all others
STATES = ("found", "clear", "untested")

#: Every cause that a test may name, upstream first: of two that are found, the earlier one explains the later one.
CAUSES = (
    "non-finite posteriors",
    "too few examples",
    "duplicated data",
    "batch statistics",
    "encoder outside the optimiser",
    "KL weight too large",
    "dead encoder head",
    "untrained model",
    "schedule not finished",
    "KL weight too small",
    "decoder noise too large",
    "inference lag",
    "autoregressive decoder",
    "decoder ignores z",
    "scale inflation",
    "tight clusters",
    "prior hole",
    "class collapsed",
    "more latents than the data support",
    "non-identifiable directions",
)


@dataclass(frozen=True)
class Finding:
    """The outcome of one test.

    Attributes:
        cause: one of `CAUSES`.
        state: "found", "clear" (tested, and not the cause) or "untested".
        sentence: what was seen, with its numbers; for "untested", what would be needed.
        strength: 0 to 1, how much of what is wrong this explains.
        numbers: plain values by name.
        late: whether any other cause that is found may explain it, but for flat directions, which follow from it.
    """

    cause: str
    state: str
    sentence: str
    strength: float = 0.0
    numbers: Mapping[str, float] = field(default_factory=dict)
    late: bool = False

    def __post_init__(self) -> None:
        if self.cause not in CAUSES or self.state not in STATES or not 0 <= self.strength <= 1:
            raise BadInput(
                f"a finding needs a cause of CAUSES, a state of {STATES} and a strength from 0 to 1, "
                f"got {self.cause!r}, {self.state!r} and {self.strength}"
            )

    @property
    def place(self) -> float:
        """Where it stands in the list: upstream causes first."""
        return CAUSES.index(LAST) - 0.5 if self.late else CAUSES.index(self.cause)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; a number that is not finite becomes null."""
        numbers = {key: float(x) if math.isfinite(x) else None for key, x in self.numbers.items()}
        return {
            "cause": self.cause, "state": self.state, "sentence": self.sentence,
            "strength": self.strength, "numbers": numbers,
        }  # fmt: skip


def found(cause: str, sentence: str, strength: float = 1.0, **numbers: float) -> Finding:
    """A cause that is there.

    Example:
        >>> found("too few examples", "Three examples cannot tell.", examples=3).state
        'found'
    """
    return Finding(cause, "found", sentence, min(max(float(strength), 0.0), 1.0), numbers)


def clear(cause: str, sentence: str, **numbers: float) -> Finding:
    """A cause that was looked for and is not there."""
    return Finding(cause, "clear", sentence, 0.0, numbers)


def untested(cause: str, sentence: str) -> Finding:
    """A cause that could not be looked for; the sentence says what it would take."""
    return Finding(cause, "untested", sentence)
