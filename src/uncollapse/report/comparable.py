"""Whether results may be ranked at all: only where data and likelihood are the same."""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

__all__ = ["UNRANKED", "Basis", "basis", "remark"]

UNRANKED = "These methods were measured on different data or likelihoods, so their numbers cannot be ranked"


class Basis(NamedTuple):
    """What a run was measured on; `likelihood` is as JSON, empty for the one of the data."""

    fingerprint: str
    likelihood: str
    name: str

    @property
    def key(self) -> tuple[str, str]:
        """What must be equal; the name of the data does not enter."""
        return self.fingerprint, self.likelihood


def basis(result: dict[str, Any]) -> Basis:
    """The data and likelihood of a result.

    Example:
        >>> basis({"run": {"data_fingerprint": "6a26", "model": {"likelihood": None}, "data": {"name": "digits"}}})
        Basis(fingerprint='6a26', likelihood='', name='digits')
    """
    run = _tree(result.get("run"))
    likelihood = _tree(run.get("model")).get("likelihood")
    written = "" if likelihood is None else json.dumps(likelihood, sort_keys=True)
    return Basis(str(run.get("data_fingerprint") or ""), written, str(_tree(run.get("data")).get("name") or ""))


def _tree(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def remark(arms: Iterable[tuple[str, Iterable[Basis]]]) -> str:
    """The sentence that says which methods differ, or an empty one where all may be ranked.

    Example:
        >>> remark([("a", [Basis("6a", "", "digits")]), ("b", [Basis("6a", '"gaussian"', "digits")])])
        'These methods ... cannot be ranked (a: digits 6a with the likelihood of the data; b: ... likelihood gaussian).'
        >>> remark([("a", [Basis("6a", "", "digits")]), ("b", [Basis("6a", "", "renamed")])])
        ''
    """
    groups: dict[tuple[str, str], tuple[Basis, dict[str, None]]] = {}
    for arm, found in arms:
        for one in found:
            groups.setdefault(one.key, (one, {}))[1][arm] = None
    if len(groups) < 2:
        return ""
    said = "; ".join(f"{', '.join(names)}: {_said(one)}" for one, names in groups.values())
    return f"{UNRANKED} ({said})."


def _said(one: Basis) -> str:
    data = f"{one.name or 'data'} {one.fingerprint[:8] or 'unknown'}"
    likelihood = "".join(sign for sign in one.likelihood if sign not in '{}":')
    return f"{data} with likelihood {likelihood}" if likelihood else f"{data} with the likelihood of the data"
