"""YAML in and out: every mistake at once, each with its line, its place and the nearest right name."""

import re
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from uncollapse.errors import BadInput, Damaged
from uncollapse.store import check_format
from uncollapse.study.loading import loaded
from uncollapse.study.naming import nearest
from uncollapse.study.spec import Arm, Measure, ModelSpec, Run, Study

__all__ = ["dump_study", "load_run", "load_study", "override", "parse"]

T = TypeVar("T", Study, Run)


def load_study(path: str | Path, overrides: list[str] | None = None) -> Study:
    """Read a study.

    Raises:
        BadInput: listing every mistake in the file.
    """
    return read(Study, Path(path), overrides or [])


def load_run(path: str | Path, overrides: list[str] | None = None) -> Run:
    """Read the configuration of one run."""
    return read(Run, Path(path), overrides or [])


def read(kind: type[T], path: Path, overrides: list[str]) -> T:
    """A file, with overrides, as a study or a run."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    return parse(kind, text, str(path), overrides)


def parse(kind: type[T], text: str, source: str = "<text>", overrides: list[str] | None = None) -> T:
    """YAML text as a study or a run."""
    from pydantic import TypeAdapter, ValidationError

    check_whole(text, source)
    tree, value = loaded(text, source)
    if not isinstance(value, dict):
        raise BadInput(f"{source}: expected a mapping of settings, got {type(value).__name__ if value else 'nothing'}")
    for assignment in overrides or []:
        override(value, assignment)
    problems: list[str] = [explain(loc, words, source, tree) for loc, words in unknown_keys(kind, value)]
    if not problems:
        try:
            found: T = TypeAdapter(kind).validate_python(value)
            return found
        except ValidationError as error:
            problems = [explain(one["loc"], tidy(one["msg"]) + given(one), source, tree) for one in error.errors()]
    raise BadInput("; ".join(problems) if len(problems) == 1 else "\n  ".join(["several mistakes:", *problems]))


def unknown_keys(kind: type, value: Any, loc: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], str]]:
    """Places whose key no setting has, with the nearest right one."""
    if not (is_dataclass(kind) and isinstance(value, dict)):
        return []
    nested: dict[str, type] = {"model": ModelSpec, "measure": Measure} if kind in (Study, Run) else {}
    known = [one.name for one in fields(kind)]
    out = []
    for key, item in value.items():
        if key not in known:
            out.append(((*loc, key), f"unknown key; {nearest(key, known)}"))
        elif key in nested:
            out += unknown_keys(nested[key], item, (*loc, key))
        elif key == "arms" and isinstance(item, list):
            for index, arm in enumerate(item):
                out += unknown_keys(Arm, arm, (*loc, key, index))
        elif key == "fit":
            out += unknown_settings(item, (*loc, key))
    return out


def unknown_settings(value: Any, loc: tuple[Any, ...]) -> list[tuple[tuple[Any, ...], str]]:
    """Unknown keys in a `fit` section."""
    from uncollapse.plan import Settings

    known = [one.name for one in fields(Settings) if one.name != "seed"]
    keys = value if isinstance(value, dict) else ()
    return [((*loc, key), f"unknown key; {nearest(key, known)}") for key in keys if key not in known]


def explain(loc: tuple[Any, ...], words: str, source: str, tree: yaml.Node | None) -> str:
    """`file:line: place: words`."""
    place = ".".join(str(part) for part in loc if not str(part).startswith(("str", "dict[", "function-")))
    return f"{source}:{line_of(tree, loc)}: {place or 'the whole'}: {words}"


def line_of(node: yaml.Node | None, loc: tuple[Any, ...]) -> int:
    """The line of a place in the YAML tree, or of the nearest enclosing one."""
    line = node.start_mark.line + 1 if node else 1
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            found = [(key, item) for key, item in node.value if key.value == str(part)]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            found = [(node.value[part], node.value[part])]
        else:
            found = []
        if not found:
            return line
        key, node = found[0]
        line = key.start_mark.line + 1
    return line


def tidy(message: str) -> str:
    """pydantic's sentence, in our form."""
    message = message.removeprefix("Value error, ").removeprefix("Input ")
    return message[0].lower() + message[1:] if message else "not accepted"


def given(problem: Any) -> str:
    """What stood there, unless it is a whole section and our own sentence says enough."""
    return "" if problem["type"] == "value_error" else f", got {short(problem['input'])}"


def short(value: Any) -> str:
    """A value in a few characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def override(value: dict[str, Any], assignment: str) -> None:
    """Apply `a.b=c` to nested settings.

    Example:
        >>> settings = {"fit": {"lr": 0.1}}
        >>> override(settings, "fit.lr=1e-3")
        >>> settings
        {'fit': {'lr': 0.001}}
    """
    path, sign, text = assignment.partition("=")
    if not sign or not path:
        raise BadInput(f"an override looks like fit.lr=1e-3, got {assignment!r}")
    try:
        item = loaded(text, "")[1]
    except BadInput as error:
        raise BadInput(f"the value in {short(assignment)} is not valid YAML") from error
    *parents, last = path.split(".")
    for part in parents:
        inner = value.setdefault(part, {})
        if not isinstance(inner, dict):
            inner = value[part] = {"name": inner}
        value = inner
    value[last] = item


BEGIN, END = "# uncollapse study, format {}", "# end of study"
FORMAT = 1  #: of study.yaml, in its first line


def dump_study(study: Study) -> str:
    """A study as YAML that `parse` reads back to an equal study, with lines that show where it begins and ends."""
    text = yaml.safe_dump(asdict(study), sort_keys=False, allow_unicode=True, width=110)
    return f"{BEGIN.format(FORMAT)}\n{text}{END}\n"


def check_whole(text: str, source: str) -> None:
    """Refuse what `dump_study` wrote and somebody cut short: a part of a study may be a study too.

    Raises:
        Outdated: when a newer version wrote it.
        Damaged: when its end is missing.
    """
    first, _, rest = text.partition("\n")
    found = re.fullmatch(BEGIN.format(r"(\d+)"), first.strip())
    if found is None:  # written by hand, or by an older version
        return
    check_format(Path(source), int(found[1]), FORMAT)
    if END not in rest:
        raise Damaged(
            f"{source} is cut short: it should end with {END!r}; run the study from its own file again, which mends it"
        )
