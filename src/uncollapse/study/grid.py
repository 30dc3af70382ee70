"""Four small functions that write lists of settings: a study is a list of plain dicts, filtered and counted."""

from collections.abc import Iterable, Mapping
from itertools import product as cartesian
from typing import Any

from uncollapse.errors import BadInput

__all__ = ["chain", "grid", "product", "zipped"]

Settings = dict[str, Any]


def grid(name: str, values: Iterable[Any]) -> list[Settings]:
    """One setting at several values.

    Example:
        >>> grid("fit.lr", [0.1, 0.2])
        [{'fit.lr': 0.1}, {'fit.lr': 0.2}]
    """
    return [{name: value} for value in values]


def zipped(*lists: list[Settings]) -> list[Settings]:
    """Lists of equal length, element by element.

    Raises:
        BadInput: when their lengths differ.

    Example:
        >>> zipped(grid("a", [1, 2]), grid("b", [3, 4]))
        [{'a': 1, 'b': 3}, {'a': 2, 'b': 4}]
    """
    if len({len(one) for one in lists}) > 1:
        raise BadInput(f"zipped lists should be equally long, got lengths {', '.join(str(len(one)) for one in lists)}")
    return [merged(group) for group in zip(*lists, strict=True)]


def chain(*lists: list[Settings]) -> list[Settings]:
    """One list after the other.

    Example:
        >>> chain(grid("a", [1]), grid("b", [2]))
        [{'a': 1}, {'b': 2}]
    """
    return [dict(one) for settings in lists for one in settings]


def product(*lists: list[Settings]) -> list[Settings]:
    """Every combination.

    Example:
        >>> len(product(grid("a", [1, 2]), grid("b", [3, 4, 5])))
        6
    """
    return [merged(group) for group in cartesian(*lists)]


def merged(group: Iterable[Mapping[str, Any]]) -> Settings:
    """Several settings as one; a key given twice is an error."""
    out: Settings = {}
    for one in group:
        for key, value in one.items():
            if key in out and out[key] != value:
                raise BadInput(f"the setting {key!r} is given twice, as {out[key]!r} and {value!r}")
            out[key] = value
    return out
