"""The table of a protocol as plain values: published, the paper's formula on our run, and the right metric on it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import fmean, stdev
from typing import Any

from uncollapse.protocols.claims import judge
from uncollapse.protocols.spec import Column, Protocol
from uncollapse.protocols.values import Reading, read_values
from uncollapse.protocols.words import label
from uncollapse.report.load import number

__all__ = ["cell", "cited", "view"]


def view(
    protocol: Protocol,
    scale: str,
    header: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    computed: Mapping[str, Any] | None = None,
    differences: Sequence[str] = (),
) -> dict[str, Any]:
    """Everything that a table, a page or a program shows of a protocol.

    Arguments:
        protocol: what was published.
        scale: of our runs.
        header: of the study, as `report.load_results` completes it.
        results: one dict a run; none for an exact computation.
        computed: what an exact computation returned.
        differences: settings in which our runs are not at the paper's scale, a sentence each.

    Returns:
        Plain values: name, title, question, paper, scale, note, data, columns, rows, claims, differs, unseen, figure
        (its title), panels (see `drawing`), command, seconds, versions, devices.
    """
    changes = protocol.changes(scale)
    return {
        "name": protocol.name, "title": protocol.title, "question": protocol.question, "scale": scale,
        "note": str(changes.get("note", "")), "paper": asdict(protocol.paper), "spread": protocol.published.spread,
        "data": data_of(results), "columns": [column_of(key, one) for key, one in protocol.published.columns.items()],
        "rows": [row(protocol, arm, results, computed) for arm in arms_of(protocol, header, computed)],
        "claims": [asdict(judge(claim, results, computed)) for claim in protocol.claims],
        "differs": [*protocol.differs, *differences], "unseen": list(protocol.unseen),
        "figure": protocol.figure.title, "panels": [],
        "quantities": dict((computed or {}).get("quantities") or {}),
        "command": str(header.get("command") or f"uncollapse study run {protocol.name} --scale {scale}"),
        "seconds": seconds_of(results, computed),
        "versions": (computed or {}).get("versions") or together(results, "versions"),
        "devices": list(dict.fromkeys(str(one["device"]) for one in results if one.get("device"))),
    }  # fmt: skip


def arms_of(protocol: Protocol, header: Mapping[str, Any], computed: Mapping[str, Any] | None) -> list[str]:
    """The published methods first, then ours that the paper does not have."""
    ours = list((computed or {}).get("rows") or {}) if computed is not None else list(header.get("arms") or [])
    return list(dict.fromkeys([*protocol.published.rows, *ours]))


def column_of(key: str, column: Column) -> dict[str, Any]:
    """A column's head: what was published, whether its formula was applied, and the right metrics by name."""
    right = [{"metric": name, "label": label(name)} for name in column.right]
    return {**asdict(column), "key": key, "legacy": column.legacy is not None, "right": right}


def row(
    protocol: Protocol, arm: str, results: Sequence[Mapping[str, Any]], computed: Mapping[str, Any] | None
) -> dict[str, Any]:
    """One method: published, legacy and right values by column."""
    columns, printed = protocol.published.columns, protocol.published.rows.get(arm, {})
    prefix = "" if computed is not None else "legacy."
    legacy = {key: prefix + one.legacy for key, one in columns.items() if one.legacy is not None}
    return {
        "arm": arm,
        "ours": computed is not None or any(one["arm"] == arm for one in results),
        "seeds": sum(one["arm"] == arm for one in results),
        "published": {key: cited(printed[key]) for key in columns if printed.get(key) is not None},
        "legacy": {key: cell(read_values(arm, name, results, computed)) for key, name in legacy.items()},
        "right": {
            key: [cell(read_values(arm, name, results, computed)) for name in one.right] for key, one in columns.items()
        },
    }


def cited(value: Any) -> dict[str, Any]:
    """A published cell: mean and standard deviation, or words."""
    if isinstance(value, str):
        return {"text": value, "mean": None, "std": None}
    mean, std = value if isinstance(value, list) else (value, None)
    return {"text": "", "mean": float(mean), "std": None if std is None else float(std)}


def cell(readings: Mapping[Any, Reading]) -> dict[str, Any] | None:
    """Mean and standard deviation over the seeds; None where nothing was measured."""
    values = [one.value for one in readings.values()]
    if not values:
        return None
    capped = any(one.capped for one in readings.values())
    spread = stdev(values) if len(values) > 1 else None
    return {"mean": fmean(values), "std": spread, "n": len(values), "capped": capped}


def data_of(results: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The data sets actually used, with their fingerprints."""
    found: dict[tuple[str, str], None] = {}
    for result in results:
        run = result.get("run") or {}
        data = run.get("data") or {}
        name = result.get("data_name") or run.get("data_used") or (data.get("name") if isinstance(data, dict) else data)
        found[(str(name or ""), str(run.get("data_fingerprint") or ""))] = None
    return [{"name": name, "fingerprint": fingerprint} for name, fingerprint in found]


def seconds_of(results: Sequence[Mapping[str, Any]], computed: Mapping[str, Any] | None) -> float:
    """Computing time in all."""
    times = [number(value) for one in results for value in (one.get("seconds") or {}).values()]
    own = number((computed or {}).get("seconds"))
    return sum(value for value in [*times, own] if value is not None)


def together(results: Sequence[Mapping[str, Any]], key: str) -> dict[str, str]:
    """Versions, each package with all that occur."""
    found: dict[str, dict[str, None]] = {}
    for result in results:
        for name, value in (result.get(key) or {}).items():
            found.setdefault(str(name), {})[str(value)] = None
    return {name: ", ".join(values) for name, values in sorted(found.items())}
