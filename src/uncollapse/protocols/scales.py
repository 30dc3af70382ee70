"""Scales of a protocol: the paper's budget, and a stated reduction of it."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from uncollapse.errors import BadInput
from uncollapse.study.naming import nearest

__all__ = ["KEYS", "SCALES", "scaled"]

SCALES = ("paper", "small")
SECTIONS = ("data", "model", "fit", "measure")
KEYS = (*SECTIONS, "seeds", "arms", "change", "note", "cost")  #: that a scale may hold


def scaled(study: Mapping[str, Any], changes: Mapping[str, Any], name: str, title: str = "") -> dict[str, Any]:
    """The settings of a study at a scale: sections changed key by key, some of its arms, other seeds.

    `fit.batches` takes the place of `fit.epochs` and the other way round, since a length is given once.

    Arguments:
        study: settings at the paper's budget.
        changes: sections data, model, fit and measure; `seeds`; `arms`, the names of those that stay; `change`,
            {arm: settings of that arm that are replaced}; `note` and `cost`, for people.
        name, title: of the study.

    Raises:
        BadInput: for an unknown key or arm.

    Example:
        >>> scaled({"arms": [{"name": "a"}], "fit": {"epochs": 30, "lr": 1}}, {"fit": {"batches": 9}}, "x")["fit"]
        {'lr': 1, 'batches': 9}
    """
    for key in changes:
        if key not in KEYS:
            raise BadInput(f"a scale has no key {key!r}; {nearest(key, KEYS)}")
    out = deepcopy(dict(study))
    for section in SECTIONS:
        if section in changes:
            out[section] = merged(out.get(section, {}), changes[section])
    out["arms"] = chosen(out.get("arms", []), changes)
    out["seeds"] = list(changes.get("seeds", out.get("seeds", [0])))
    note = " ".join(str(text).strip() for text in (out.get("note", ""), changes.get("note", "")) if text)
    return {**out, "name": name, "title": title or out.get("title", ""), "note": note}


def merged(section: Any, changes: Any) -> Any:
    """A section with some keys changed; a name stands for a mapping with that name."""
    if not isinstance(changes, Mapping):
        return changes
    before = {"name": section} if isinstance(section, str) else dict(section or {})
    for one, other in (("batches", "epochs"), ("epochs", "batches")):
        if one in changes and other not in changes:
            before.pop(other, None)
    return {**before, **deepcopy(dict(changes))}


def chosen(arms: list[dict[str, Any]], changes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The arms that a scale keeps, with what it changes in them."""
    known = [str(arm.get("name")) for arm in arms]
    keep, change = list(changes.get("arms") or known), dict(changes.get("change") or {})
    for name in (*keep, *change):
        if name not in known:
            raise BadInput(f"a scale names the arm {name!r}; {nearest(name, known)}")
    kept = [arm for arm in arms if arm.get("name") in keep]
    return [merged_arm(arm, change.get(str(arm.get("name")), {})) for arm in kept]


def merged_arm(arm: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """One arm: its sections changed key by key, its remedies replaced as a whole."""
    sections = {key: merged(arm.get(key, {}), change[key]) for key in SECTIONS if key in change}
    return {**arm, **{key: value for key, value in change.items() if key not in SECTIONS}, **sections}
