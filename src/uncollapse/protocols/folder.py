"""The folder of a protocol's runs: which protocol and scale they belong to, and what an exact computation gave."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from uncollapse.errors import BadInput
from uncollapse.plain import finite_only
from uncollapse.protocols.catalogue import load, names
from uncollapse.protocols.differing import differing
from uncollapse.protocols.drawing import panels
from uncollapse.protocols.spec import Protocol
from uncollapse.protocols.table import view
from uncollapse.store import read_json, write_json
from uncollapse.study.config import load_study

__all__ = ["Marked", "compute", "mark", "marked", "view_of"]

FORMAT = 1  #: of protocol.json


class Marked(NamedTuple):
    """What `protocol.json` says of a folder."""

    protocol: Protocol
    scale: str
    computed: dict[str, Any] | None


def mark(folder: Path, protocol: Protocol, scale: str, computed: Mapping[str, Any] | None = None) -> None:
    """Write down whose runs a folder holds."""
    whole = {"format": FORMAT, "name": protocol.name, "scale": scale, "protocol": asdict(protocol)}
    write_json(folder / "protocol.json", finite_only({**whole, "computed": computed}))


def marked(folder: Path) -> Marked | None:
    """The protocol of a folder, or None where it has none; the package's own words go before stored ones.

    Raises:
        BadInput: when the file is not one of ours.
    """
    from pydantic import TypeAdapter, ValidationError

    path = folder / "protocol.json"
    if not path.exists():
        return None
    stored = read_json(path)
    if not isinstance(stored, dict) or stored.get("format") != FORMAT:
        raise BadInput(f"{path} is not the mark of a protocol of this version; move it away and run again")
    if stored.get("name") in names():
        return Marked(load(stored["name"]), stored["scale"], stored.get("computed"))
    try:
        protocol = TypeAdapter(Protocol).validate_python(stored.get("protocol"))
    except ValidationError as error:
        raise BadInput(f"{path} holds no protocol that this version can read: {error.errors()[0]['msg']}") from error
    return Marked(protocol, str(stored.get("scale")), stored.get("computed"))


def compute(protocol: Protocol, scale: str, progress: Callable[[str], None] = print) -> dict[str, Any]:
    """Do an exact computation.

    Arguments:
        protocol: one with `compute`.
        scale: handed on.
        progress: told in words what is going on.

    Returns:
        rows {arm: {metric: value}}, quantities {name: value}, figure, the seconds that it took, and versions.
    """
    protocol.changes(scale)
    module, _, function = protocol.compute.partition(":")
    try:
        work = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise BadInput(f"{protocol.name}: there is no computation {protocol.compute!r} ({error})") from error
    started = time.monotonic()
    found = dict(work(scale, progress))
    found["rows"] = by_arm(found.get("rows") or {})
    used = {name: version(name) for name in ("uncollapse", "torch", "numpy")}
    return {**found, "seconds": round(time.monotonic() - started, 2), "versions": used}


def by_arm(rows: Any) -> dict[str, dict[str, Any]]:
    """Rows by the name of their method; a list of rows has it under "arm"."""
    if isinstance(rows, Mapping):
        return {str(arm): dict(values) for arm, values in rows.items()}
    return {str(one["arm"]): {key: value for key, value in one.items() if key != "arm"} for one in rows}


def view_of(folder: Path, header: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The protocol's table of a folder, or None where the folder belongs to no protocol."""
    found = marked(folder)
    if found is None:
        return None
    protocol, scale, computed = found
    changed: list[str] = []
    if (folder / "study.yaml").exists() and not protocol.compute:
        changed = differing(load_study(folder / "study.yaml"), protocol.study_at("paper"))
    made = view(protocol, scale, header, results, computed, changed)
    drawn = (computed or {}).get("figure")
    made["panels"] = panels_of(drawn) if computed else panels(protocol, [row["arm"] for row in made["rows"]], results)
    return made


def panels_of(figure: Any) -> list[dict[str, Any]]:
    """The panels that an exact computation gave: one, a list, or a dict that holds them."""
    if isinstance(figure, Mapping) and "panels" in figure:
        figure = figure["panels"]
    found = figure if isinstance(figure, list) else [figure]
    return [dict(one) for one in found if isinstance(one, Mapping) and one.get("kind") in ("lines", "bars", "heat")]
