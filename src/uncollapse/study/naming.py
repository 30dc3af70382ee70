"""The nearest right name for a wrong one."""

import difflib
from collections.abc import Iterable
from typing import Any

__all__ = ["nearest"]


def nearest(name: Any, known: Iterable[str]) -> str:
    """Which of the known names was meant, or all of them.

    Example:
        >>> nearest("bta", ["beta", "floor"]), nearest("x", ["beta", "floor"])
        ('did you mean beta?', 'there are beta, floor')
    """
    names = list(known)
    near = difflib.get_close_matches(str(name), names, 1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
