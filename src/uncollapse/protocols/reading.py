"""Protocols from YAML: every mistake at once, each with its line and the nearest right name."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from uncollapse.errors import BadInput
from uncollapse.protocols.checks import wrong
from uncollapse.protocols.scales import KEYS, scaled
from uncollapse.protocols.spec import Claim, Column, Figure, Paper, Part, Protocol, Published
from uncollapse.study.config import explain, given, tidy, unknown_keys
from uncollapse.study.loading import loaded
from uncollapse.study.naming import nearest
from uncollapse.study.spec import Study

__all__ = ["parse_protocol", "read_protocol", "study_of"]

Mistake = tuple[tuple[Any, ...], str]


def read_protocol(path: str | Path) -> Protocol:
    """A protocol from a file.

    Raises:
        BadInput: when the file cannot be read, or listing every mistake in it.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    return parse_protocol(text, str(path))


def parse_protocol(text: str, source: str = "<text>") -> Protocol:
    """YAML text as a protocol.

    Raises:
        BadInput: listing every mistake with its line.
    """
    tree, value = loaded(text, source)
    if not isinstance(value, dict):
        raise BadInput(f"{source}: expected a mapping of settings, got {type(value).__name__ if value else 'nothing'}")
    mistakes = unknown(value)
    protocol = None
    if not mistakes:
        protocol, mistakes = validated(value)
    if protocol is not None:
        mistakes = wrong(protocol)
    if mistakes:
        raise BadInput(listed([explain(loc, words, source, tree) for loc, words in mistakes]))
    assert protocol is not None
    return protocol


def listed(problems: list[str]) -> str:
    """One problem as it is, several below each other."""
    return problems[0] if len(problems) == 1 else "\n  ".join(["several mistakes:", *problems])


def validated(value: dict[str, Any]) -> tuple[Protocol | None, list[Mistake]]:
    """The protocol, or what keeps the values from being one."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(Protocol).validate_python(value), []
    except ValidationError as error:
        return None, [(one["loc"], tidy(one["msg"]) + given(one)) for one in error.errors()]


def study_of(settings: dict[str, Any], source: str) -> Study:
    """Plain settings as a study.

    Raises:
        BadInput: listing every mistake.
    """
    from pydantic import TypeAdapter, ValidationError

    mistakes: list[Mistake] = unknown_keys(Study, settings)
    if not mistakes:
        try:
            return TypeAdapter(Study).validate_python(settings)
        except ValidationError as error:
            mistakes = [(one["loc"], tidy(one["msg"]) + given(one)) for one in error.errors()]
    raise BadInput(listed([f"{source}: {'.'.join(map(str, loc))}: {words}" for loc, words in mistakes]))


def unknown(value: dict[str, Any]) -> list[Mistake]:
    """Keys that no setting has, in the protocol and in its study."""
    out = names_of(Protocol, value, ())
    for key, kind in (("paper", Paper), ("published", Published), ("figure", Figure)):
        out += names_of(kind, value.get(key), (key,))
    for name, column in mapping(mapping(value.get("published")).get("columns")).items():
        out += names_of(Column, column, ("published", "columns", name))
    for index, claim in enumerate(sequence(value.get("claims"))):
        out += names_of(Claim, claim, ("claims", index))
        for place, part in enumerate(sequence(mapping(claim).get("parts"))):
            out += names_of(Part, part, ("claims", index, "parts", place))
    for name, changes in mapping(value.get("scales")).items():
        here = ("scales", name)
        out += [((*here, key), f"unknown key; {nearest(key, KEYS)}") for key in mapping(changes) if key not in KEYS]
    if value.get("study"):
        out += unknown_keys(Study, value["study"], ("study",))
    return out


def names_of(kind: Any, value: Any, loc: tuple[Any, ...]) -> list[Mistake]:
    """Keys of a mapping that a dataclass does not have."""
    known = [one.name for one in fields(kind)]
    return [((*loc, key), f"unknown key; {nearest(key, known)}") for key in mapping(value) if key not in known]


def mapping(value: Any) -> dict[Any, Any]:
    """The value if it is a mapping, else an empty one; its type is told elsewhere."""
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def settings_at(value: dict[str, Any], scale: str) -> dict[str, Any]:
    """The settings of the study of plain values at a scale."""
    return scaled(value["study"], value["scales"][scale], value["name"])
