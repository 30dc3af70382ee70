"""Protocols by name: the files of `protocols/papers`."""

from functools import cache
from importlib.resources import files
from typing import Any

from uncollapse.errors import BadInput
from uncollapse.protocols.reading import parse_protocol
from uncollapse.protocols.spec import Protocol
from uncollapse.study.naming import nearest

__all__ = ["about", "load", "names"]


def folder() -> Any:
    """Where the protocols of the package lie."""
    return files("uncollapse") / "protocols" / "papers"


@cache
def names() -> tuple[str, ...]:
    """Every protocol of the package, sorted.

    Example:
        >>> "fmn-toy" in names()
        True
    """
    return tuple(sorted(path.name.removesuffix(".yaml") for path in folder().iterdir() if path.name.endswith(".yaml")))


@cache
def load(name: str) -> Protocol:
    """A protocol by its name.

    Raises:
        BadInput: for an unknown name, with the nearest right one.

    Example:
        >>> load("fmn-toy").paper.where
        'Table 1 and Figure 1'
    """
    if name not in names():
        raise BadInput(f"there is no protocol {name!r}; {nearest(name, names())}")
    return parse_protocol((folder() / f"{name}.yaml").read_text(encoding="utf-8"), f"{name}.yaml")


def about(name: str) -> str:
    """One line on a protocol, for lists."""
    one = load(name)
    return f"{one.paper.where}: {one.title}"
