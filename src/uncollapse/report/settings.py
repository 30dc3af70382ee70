"""Settings as YAML: what all runs share once, and what sets each method apart."""

from typing import Any

import yaml

__all__ = ["differing", "shared", "to_yaml"]

Flat = dict[tuple[str, ...], Any]


def _flat(tree: dict[str, Any], path: tuple[str, ...] = ()) -> Flat:
    flat: Flat = {}
    for key, value in tree.items():
        here = (*path, str(key))
        flat |= _flat(value, here) if isinstance(value, dict) and value else {here: value}
    return flat


def _nested(flat: Flat) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        branch = tree
        for key in path[:-1]:
            branch = branch.setdefault(key, {})
        branch[path[-1]] = value
    return tree


def _same(flats: list[Flat]) -> Flat:
    if not flats:
        return {}
    return {key: x for key, x in flats[0].items() if all(key in f and f[key] == x for f in flats[1:])}


def shared(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """What is equal in all of the nested settings.

    Example:
        >>> shared([{"fit": {"lr": 1, "steps": 2}}, {"fit": {"lr": 1, "steps": 3}}])
        {'fit': {'lr': 1}}
    """
    return _nested(_same([_flat(run) for run in runs]))


def differing(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is left of each of the nested settings once the shared part is taken away.

    Example:
        >>> differing([{"a": 1, "b": {"c": 1}}, {"a": 1, "b": {"c": 2}}])
        [{'b': {'c': 1}}, {'b': {'c': 2}}]
    """
    flats = [_flat(run) for run in runs]
    same = _same(flats)
    return [_nested({key: x for key, x in flat.items() if key not in same}) for flat in flats]


def to_yaml(tree: dict[str, Any]) -> str:
    """Plain values as YAML in their own order.

    Example:
        >>> to_yaml({"remedies": ["Beta"], "seed": 0})
        'remedies:\\n- Beta\\nseed: 0\\n'
    """
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=100) if tree else ""
