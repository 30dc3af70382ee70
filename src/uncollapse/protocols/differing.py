"""In which settings a study is not at the paper's scale."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from uncollapse.study.spec import Study

__all__ = ["differing"]

SILENT = {"name", "title", "note", "images", "validate_every", "log_every", "checkpoint_every", "device"}


def differing(ours: Study, paper: Study) -> list[str]:
    """What was changed, a sentence each; what only concerns the writing of logs and pages is left out.

    Example:
        >>> from uncollapse.study import Arm
        >>> differing(Study("a", [Arm("x")], fit={"epochs": 3}), Study("b", [Arm("x")], fit={"epochs": 30}))
        ['fit.epochs: 3, at the paper 30']
    """
    names = [arm.name for arm in ours.arms]
    dropped = [arm.name for arm in paper.arms if arm.name not in names]
    mine, theirs = (flat(plain(one, names)) for one in (ours, paper))
    changed = [key for key in dict.fromkeys([*theirs, *mine]) if mine.get(key) != theirs.get(key)]
    told = [key for key in changed if key.split(".")[-1] not in SILENT]
    left = [f"left out: {', '.join(dropped)}"] if dropped else []
    return [*(f"{key}: {said(mine, key)}, at the paper {said(theirs, key)}" for key in told), *left]


def plain(study: Study, names: Sequence[str]) -> dict[str, Any]:
    """The settings of a study without the arms that are compared nowhere."""
    settings = asdict(study)
    return {**settings, "arms": [arm for arm in settings["arms"] if arm["name"] in names]}


def flat(value: Any, place: str = "") -> dict[str, Any]:
    """Nested settings by dotted places; arms by their names."""
    if isinstance(value, list) and value and all(isinstance(one, Mapping) and "name" in one for one in value):
        return {key: x for one in value for key, x in flat(dict(one), f"{place} {one['name']!r}".strip()).items()}
    if isinstance(value, Mapping) and value:
        return {
            k: x for key, one in value.items() for k, x in flat(one, f"{place}.{key}" if place else str(key)).items()
        }
    return {place: value}


def said(settings: Mapping[str, Any], key: str) -> str:
    """A setting in words."""
    value = settings.get(key)
    return "not set" if value is None or value in ([], {}) else str(value)
