"""What the exact protocols share: scales, panels, and words on the way."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

from uncollapse.errors import BadInput

__all__ = ["Progress", "Scale", "lines", "settings_of", "tell"]

Scale = Literal["small", "paper"]
Progress = Callable[[str], object]
T = TypeVar("T")


def settings_of(scale: str, known: Mapping[str, T]) -> T:
    """The settings of a scale.

    Raises:
        BadInput: for an unknown one.
    """
    if scale not in known:
        raise BadInput(f"scale should be one of {', '.join(known)}, got {scale!r}")
    return known[scale]


def tell(progress: Progress | None, words: str) -> None:
    """Say what is going on, to whoever wants to know."""
    if progress is not None:
        progress(words)


def lines(title: str, x: str, y: str, series: Mapping[str, Sequence[Sequence[float]]], **more: Any) -> dict[str, Any]:
    """A panel of lines by name, each a list of points [x, y].

    Example:
        >>> lines("KL", "beta", "nats", {"trained": [[1.0, 0.5]]})["series"]
        [{'arm': 'trained', 'points': [[1.0, 0.5]]}]
    """
    drawn = [{"arm": name, "points": [list(map(float, point)) for point in points]} for name, points in series.items()]
    return {"kind": "lines", "title": title, "x": x, "y": y, "series": drawn, **more}
