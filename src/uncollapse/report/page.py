"""One self-contained HTML page from a header and the results; no clock, no network, the same bytes every time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from uncollapse.errors import BadInput
from uncollapse.report import figures, images, render, settings
from uncollapse.report.caption import arrow, caption, marks
from uncollapse.report.document import TEMPLATES, asset, duration, environment, write_page
from uncollapse.report.headline import findings, headline, listed
from uncollapse.report.load import number, order
from uncollapse.report.protocol.page import section
from uncollapse.report.table import Row, references, rows, show, unranked, visible
from uncollapse.report.words import MEANINGS, SIGNS

__all__ = ["build", "write"]

HERE = TEMPLATES
IMAGE_BUDGET = 400_000
METRICS = (
    *("nll", "kl", "kl_information", "kl_mismatch", "mi_lower", "mi_upper", "active_units"),
    *("density", "coverage", "precision", "recall", "probe", "shuffle_gap"),
)
SUMMED = {f"kl_{part}": f"KL {part}, summed over latents" for part in ("information", "mismatch")}
KINDS = ("reconstructions", "samples")


def write(header: dict[str, Any], results: Sequence[dict[str, Any]], path: str | Path) -> Path:
    """Write the page of a study: one HTML file that loads nothing from anywhere.

    The file appears whole or not at all: it is written under a temporary name and renamed.

    Arguments:
        header: name, title, note, arms, seeds, baseline, command; what is absent comes from the results.
        results: one dict a run, as `load_results` returns them.
        path: where the page goes; its folder is made.

    Returns:
        The path of the page.

    Raises:
        BadInput: when two results claim the same arm and seed.
        WorkFailed: when the disk is full or may not be written.
    """
    return write_page(build(header, results), path)


def build(header: dict[str, Any], results: Sequence[dict[str, Any]]) -> str:
    """The page as a string.

    Example:
        >>> from uncollapse.report import page
        >>> page.build({"name": "empty", "arms": ["plain VAE"]}, [])[:15]
        '<!doctype html>'
    """
    engine = environment()
    engine.globals.update(marks=marks, signs=SIGNS)
    return engine.get_template("page.html.j2").render(_view(*order(header, list(results))))


def _view(header: dict[str, Any], results: list[dict[str, Any]]) -> dict[str, Any]:
    """Everything that the template shows; it computes nothing itself."""
    table = rows(results, header["arms"], header["seeds"], header["baseline"])
    by_arm = {arm: [r for r in results if r["arm"] == arm] for arm in header["arms"]}
    pictures, originals, remarks = _pictures(by_arm)
    return {
        "header": header | {"remarks": [*filter(None, [unranked(table)]), *header["remarks"], *remarks]},
        "ranked": not unranked(table),
        "headline": headline(table),
        "findings": findings(table),
        "facts": _facts(header, results),
        "columns": visible(table),
        "arrows": {column.key: arrow(column, table) for column in visible(table)},
        "references": references(table),
        "rows": table,
        "caption": caption(table),
        "pairs": _pairs(table),
        "verdicts": list(MEANINGS.items()),
        "files": _files(header["name"], table),
        "methods": _methods(table, by_arm),
        "frontier": "" if unranked(table) else _frontier(table),
        "originals": originals,
        "pictures": pictures,
        "texts": _texts(by_arm),
        "results": results,
        "labels": SUMMED,
        "names": sorted({name for result in results for name in result["metrics"]}, key=_place),
        "settings": _settings(by_arm),
        "versions": _versions(results),
        "sources": _sources(by_arm),
        "css": asset("page.css"),
        "protocol": section(header["protocol"]) if header.get("protocol") else None,
    }


def _place(name: str) -> tuple[int, str]:
    return (METRICS.index(name) if name in METRICS else len(METRICS), name)


def _pairs(table: list[Row]) -> str:
    counts = sorted({d.n for row in table for cell in row.cells.values() if (d := cell.difference)})
    return f"{listed([str(n) for n in counts])} of them" if counts else "none yet"


def _facts(header: dict[str, Any], results: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The few things to know before reading, as label and value."""
    datas = [(r.get("run") or {}).get("data") for r in results]
    names = dict.fromkeys(str(data.get("name")) for data in datas if isinstance(data, dict) and data.get("name"))
    tested = sorted({int(m["n"]) for r in results if number((m := r["metrics"].get("mi_lower") or {}).get("n"))})
    times = [number(x) for r in results for x in (r.get("seconds") or {}).values()]
    seconds = sum(x for x in times if x is not None)
    found = [
        ("Data", listed(list(names))),
        ("Codes measured", listed([f"{n:,}" for n in tested])),
        ("Latents", listed(sorted({str(len(r["spectrum"])) for r in results if r.get("spectrum")}))),
        ("Methods", str(len(header["arms"]))),
        ("Seeds", str(len(header["seeds"]))),
        ("Device", listed(list(dict.fromkeys(str(r["device"]) for r in results if r.get("device"))))),
        ("Computing time", duration(seconds) if seconds else ""),
    ]
    return [(label, value) for label, value in found if value]


def _files(name: str, table: list[Row]) -> list[tuple[str, str, str]]:
    """The table as files inside the page: (label, file name, address)."""
    stem = "".join(sign if sign.isascii() and sign.isalnum() else "-" for sign in name).strip("-") or "study"
    made = [
        ("CSV", "csv", "text/csv", render.to_csv(table)),
        ("LaTeX", "tex", "application/x-tex", render.to_latex(table)),
        ("Markdown", "md", "text/markdown", render.to_markdown(table)),
        ("JSON", "json", "application/json", render.to_json(table)),
    ]
    return [
        (label, f"{stem}.{end}", images.data_uri(text.encode("utf-8", errors="replace"), kind))
        for label, end, kind, text in made
    ]


def _methods(table: list[Row], by_arm: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Per method: its row, its runs and its two plots."""
    limits = figures.scale([result for results in by_arm.values() for result in results])
    methods = []
    for i, row in enumerate(table):
        results = by_arm[row.arm]
        cells = row.cells
        low, high, kl = (show(cell.mean) for cell in (*row.bracket, cells["kl"]))
        said = f"{row.arm}: at the end the information lies between {low} and {high} nats and KL is {kl} nats."
        active = f"{row.arm}: {show(cells['active_units'].mean, 1)} active units of {limits.latents} latents."
        has_history = any(result.get("history") for result in results)
        has_spectrum = any(result.get("spectrum") for result in results)
        methods.append(
            {
                "row": row,
                "runs": results,
                "shape": figures.mark(i),
                "colour": i % figures.COLOURS,
                "training": figures.training(f"t{i}", results, i, limits, said) if has_history else "",
                "spectrum": figures.spectrum(f"s{i}", results, i, limits, active) if has_spectrum else "",
            }
        )
    return methods


def _frontier(table: list[Row]) -> str:
    points = [row for row in table if row.cells["nll"].n and row.cells["mi_lower"].n]
    if len(points) < 2:
        return ""
    said = "; ".join(
        f"{row.arm} keeps {show(row.cells['mi_lower'].mean)} nats at an NLL of {show(row.cells['nll'].mean)} nats"
        for row in points
    )
    return figures.frontier(table, f"NLL against information: {said}.")


def _pictures(
    by_arm: dict[str, list[dict[str, Any]]],
) -> tuple[list[dict[str, Any]], dict[str, Any] | None, list[str]]:
    """Grids per method from its first run with images; the originals once where all methods share them."""
    first = {arm: next((r for r in results if r.get("images")), None) for arm, results in by_arm.items()}
    chosen = {arm: result for arm, result in first.items() if result is not None}
    if not chosen:
        return [], None, []
    budget = IMAGE_BUDGET // (3 * len(chosen))
    data = [(r["images"].get("originals") or {}).get("data") for r in chosen.values()]
    common = data[0] is not None and all(d == data[0] for d in data)
    remarks: list[str] = []
    pictures = []
    for arm, result in chosen.items():
        kinds = KINDS if common else ("originals", *KINDS)
        grids = [_picture(result, kind, budget, remarks) for kind in kinds]
        pictures.append({"arm": arm, "seed": result["seed"], "grids": [g for g in grids if g]})
    originals = _picture(next(iter(chosen.values())), "originals", budget, remarks) if common else None
    return pictures, originals, remarks


def _texts(by_arm: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Texts per method from its first run that has some: originals beside reconstructions, samples, a way between."""
    first = {arm: next((r["texts"] for r in results if r.get("texts")), None) for arm, results in by_arm.items()}
    return [
        {
            "arm": arm,
            "pairs": list(zip(found.get("originals", []), found.get("reconstructions", []), strict=False)),
            "samples": found.get("samples", []),
            "way": found.get("interpolation", []),
        }
        for arm, found in first.items()
        if isinstance(found, dict)
    ]


def _picture(result: dict[str, Any], kind: str, budget: int, remarks: list[str]) -> dict[str, Any] | None:
    entry = result["images"].get(kind)
    if not entry:
        return None
    try:
        png, shown, columns = images.grid(images.decode(entry), budget)
    except BadInput as error:
        remarks.append(f"The {kind} of {result['arm']}, seed {result['seed']}, cannot be shown: {error}.")
        return None
    return {"kind": kind, "uri": images.data_uri(png), "shown": shown, "columns": columns}


def _settings(by_arm: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Shared settings once, each method's own, as YAML; the seed stands in the list of runs."""
    runs = {arm: results[0].get("run") or {} for arm, results in by_arm.items() if results}
    trees = [{key: x for key, x in run.items() if key not in {"seed", "arm", "note"}} for run in runs.values()]
    own = [settings.to_yaml(tree) for tree in settings.differing(trees)]
    return {"shared": settings.to_yaml(settings.shared(trees)), "own": dict(zip(runs, own, strict=True))}


def _versions(results: list[dict[str, Any]]) -> list[tuple[str, str]]:
    found: dict[str, dict[str, None]] = {}
    for result in results:
        for package, version in (result.get("versions") or {}).items():
            found.setdefault(str(package), {})[str(version)] = None
    return [(package, listed(list(versions))) for package, versions in sorted(found.items())]


def _sources(by_arm: dict[str, list[dict[str, Any]]]) -> list[tuple[str, str]]:
    """Each source once, with the methods that rest on it."""
    users: dict[str, dict[str, None]] = {}
    for arm, results in by_arm.items():
        for result in results:
            for source in result.get("sources") or []:
                users.setdefault(str(source), {})[arm] = None
    every = [arm for arm, results in by_arm.items() if results]
    return [(s, "every method" if len(arms) == len(every) > 1 else listed(list(arms))) for s, arms in users.items()]
