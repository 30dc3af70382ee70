"""Result files in, plain dicts out; nothing is ever written here."""

import json
import math
from pathlib import Path
from typing import Any

from uncollapse.errors import BadInput, Damaged, Outdated, WorkFailed
from uncollapse.store import check_format, read_sealed

__all__ = ["FORMAT", "load_results", "number", "order"]

FORMAT = 1
NEEDED = {"hash": str, "arm": str, "seed": int, "metrics": dict, "verdict": dict}


def number(x: Any) -> float | None:
    """A finite float, or None for null, NaN, infinities and anything that is no number.

    Example:
        >>> number(3), number(float("nan")), number(None), number("3")
        (3.0, None, None, None)
    """
    if isinstance(x, bool) or not isinstance(x, int | float):
        return None
    return float(x) if math.isfinite(x) else None


def load_results(
    folder: str | Path, header: dict[str, Any] | None = None, strict: bool = False
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Read every `<folder>/<run>/result.json`, in the order of the study's arms and seeds.

    A file that is damaged, half written or not this study's is left out, and a sentence about it joins
    `header["remarks"]`; nothing on disk changes.

    Arguments:
        folder: the study folder.
        header: name, title, note, arms, seeds, baseline and command of the study; what is absent is filled
            in from the results. Where it holds "hashes", only runs with these hashes are taken. Default
            `<folder>/study.json`, which a study writes when it starts; without that file, nothing.
        strict: raise for the first bad file instead of leaving it out.

    Returns:
        (header, results): the completed header, a new dict, and one dict a run.

    Raises:
        BadInput: no folder, no readable result, two results for one arm and seed, or a bad file when strict.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BadInput(f"expected a study folder at {folder}, found none; run the study first or mend the path")
    header, fault = _header(folder) if header is None else (dict(header), "")
    if fault and strict:
        raise BadInput(fault)
    results, remarks = [], [*(header.get("remarks") or []), *([f"Left out: {fault}."] if fault else [])]
    paths = sorted(folder.glob("*/result.json"))
    if not paths:
        command = f"`{header['command']}`" if header.get("command") else "`uncollapse study run` with its name or file"
        raise BadInput(f"no run of this study is finished yet: {folder} holds no */result.json; run {command}")
    for path in paths:
        result, fault = _read(path, header)
        if fault and strict:
            raise BadInput(fault)
        if fault:
            remarks.append(f"Left out: {fault}.")
        if result is not None and not fault:
            results.append(result)
    if not results:
        raise BadInput(f"expected a */result.json of this study in {folder}, found none. {' '.join(remarks)}")
    return order(header | {"remarks": remarks, "name": header.get("name") or folder.name}, results)


def _header(folder: Path) -> tuple[dict[str, Any], str]:
    """What `study.json` says of the study, and what is wrong with that file."""
    path = folder / "study.json"
    if not path.exists():
        return {}, ""
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        return {}, f"{path} cannot be read ({error}); the names and their order come from the results"
    lists = ("arms", "seeds", "hashes")
    if not isinstance(header, dict) or not all(isinstance(header.get(key, []), list) for key in lists):
        return {}, f"{path} is not the header of a study; the names and their order come from the results"
    return header, ""


def _read(path: Path, header: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    try:
        result = read_sealed(path)
        if isinstance(result, dict):
            check_format(path, result.get("format"), FORMAT, _writer(result))
    except Damaged as error:
        return None, f"{str(error).partition('; ')[0]}; run the study again, which does that run anew"
    except Outdated as error:
        return None, str(error)
    except WorkFailed as error:
        return None, f"{error}; check its permissions"
    if fault := _fault(result):
        return None, f"{path} is not a result file of this version ({fault}); remove it or run it again"
    if not result["hash"].startswith(path.parent.name):
        return None, f"{path} says it belongs to run {result['hash']!r}; put it back into the folder of that name"
    if header.get("hashes") and result["hash"] not in header["hashes"]:
        return None, f"{path} comes from settings that the study no longer has"
    if header.get("arms") and result["arm"] not in header["arms"]:
        return None, f"{path} is of the method {result['arm']!r}, which the study no longer has"
    return result, ""


def _writer(result: dict[str, Any]) -> Any:
    """The version of the package that wrote a result."""
    versions = result.get("versions")
    return versions.get("uncollapse") if isinstance(versions, dict) else None


def _fault(result: Any) -> str:
    """What keeps a parsed file from being a result, or an empty string."""
    if not isinstance(result, dict):
        return f"expected a JSON object, got {type(result).__name__}"
    if result.get("format") != FORMAT:
        return f"expected format {FORMAT}, got {result.get('format')!r}"
    for key, kind in NEEDED.items():
        if not isinstance(result.get(key), kind):
            return f"expected {key!r} to be {kind.__name__}, got {type(result.get(key)).__name__}"
    for key in ("run", "mi", "reference"):
        if not isinstance(result.get(key) or {}, dict):
            return f"expected {key!r} to be an object, got {type(result[key]).__name__}"
    bad = [name for name, metric in result["metrics"].items() if not isinstance(metric, dict)]
    return f"expected metric {bad[0]!r} to be an object" if bad else ""


def order(header: dict[str, Any], results: list[dict[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Complete a header from its results, and sort the results by arm and seed.

    Raises:
        BadInput: when two results claim the same arm and seed, since no rule says which one is meant.
    """
    arms = list(header.get("arms") or dict.fromkeys(r["arm"] for r in results))
    arms += [arm for arm in dict.fromkeys(r["arm"] for r in results) if arm not in arms]
    seeds = list(header.get("seeds") or sorted({r["seed"] for r in results}))
    seen: dict[tuple[str, int], str] = {}
    for result in results:
        cell = (result["arm"], result["seed"])
        if cell in seen:
            raise BadInput(
                f"expected one result for method {cell[0]!r} and seed {cell[1]}, found runs {seen[cell]} and "
                f"{result.get('hash')}; remove the one with the old settings"
            )
        seen[cell] = str(result.get("hash"))
    baseline = header.get("baseline")
    baseline = baseline if baseline in arms else (arms[0] if arms else None)
    name = str(header.get("name") or "study")
    full = {"title": name, "note": "", "command": "", "remarks": []} | header
    full |= {"name": name, "arms": arms, "seeds": seeds, "baseline": baseline}
    return full, sorted(results, key=lambda r: (arms.index(r["arm"]), r["seed"]))
