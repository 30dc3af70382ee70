"""Folders of studies, of protocols and of exact computations: where they are, and what they hold."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from uncollapse.cli.protocols import find_protocol, with_protocol
from uncollapse.errors import BadInput
from uncollapse.storage import at, is_address

if TYPE_CHECKING:
    from uncollapse.storage import Place

__all__ = ["export_folder", "find_place", "find_study", "folder_of", "newest", "place_of", "results_of", "write_page"]


def write_page(header: dict[str, Any], results: list[dict[str, Any]], path: Path) -> Path:
    """The page of a study, or of an exact computation, which has no runs."""
    from uncollapse import report
    from uncollapse.report.protocol import page

    return report.write(header, results, path) if results else page.write(header["protocol"], path)


def newest(page: Path, folder: Path) -> bool:
    """Whether a page is there and younger than every file that it is made of; one of the future tells nothing."""
    if not page.exists() or page.stat().st_mtime > time.time() + 1:  # the clock was put back since
        return False
    made_of = [*folder.glob("*.json"), *folder.glob("*/result.json")]
    return all(path.stat().st_mtime_ns < page.stat().st_mtime_ns for path in made_of)


def export_folder(folder: Path, to: Path) -> list[Path]:
    """Copy a study's results, or an exact computation, with the table of its protocol."""
    from uncollapse import report
    from uncollapse.report.protocol.exporting import export_protocol

    header, results = results_of(folder)
    if results:
        report.export(folder, to)
    if "protocol" in header:
        export_protocol(folder, header["protocol"], to)
        write_page(header, results, to / "report.html")
    return sorted(path for path in to.rglob("*") if path.is_file())


def results_of(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Header and results of a study folder; what had to be left out is said on the error stream."""
    from uncollapse import report

    mark = folder / "study.json"
    if not mark.exists() and (folder / "protocol.json").exists():
        header = with_protocol(folder, {}, [])
        if header.get("protocol", {}).get("quantities") or header.get("protocol", {}).get("seconds"):
            return header, []
    if not mark.exists():
        raise BadInput(f"{folder} holds no study yet; `uncollapse study run` makes one")
    header, results = report.load_results(folder)
    for remark in header.get("remarks", []):
        typer.secho(f"note: {remark}", fg="yellow", err=True)
    return with_protocol(folder, header, results), results


def place_of(study: str, out: str | None, scale: str) -> "Place":
    """Where the results of a study, of a protocol's runs or of an exact computation lie."""
    path = Path(study)
    if is_address(study):
        place = at(out or study)
    elif path.is_dir() and not (path / "study.yaml").exists() and (path / "protocol.json").exists():
        place = at(out or path)
    else:
        found = find_protocol(study, scale, None)
        if found is not None and found[1] is None:
            place = at(out or Path("runs") / f"{study}-{scale}")
        else:
            place = at(out or find_study(study, None, scale)[1])
    place.refresh()
    return place


def folder_of(study: str, out: str | Path | None, scale: str) -> Path:
    """A local folder with the results of a study, of a protocol's runs or of an exact computation."""
    return place_of(study, None if out is None else str(out), scale).folder


def find_place(study: str, overrides: list[str] | None, out: str | None, scale: str) -> "tuple[Any, Place]":
    """A study and the place where it lies, from a file, a folder, an address or a name."""
    if not is_address(study):
        spec, folder = find_study(study, overrides, scale)
        place = at(out or folder)
        place.refresh()
        return spec, place
    from uncollapse.study.config import load_study

    there = at(study)
    there.refresh()
    if not (there.folder / "study.yaml").exists():
        raise BadInput(f"{study} holds no study yet; start one there by `uncollapse study run STUDY --out {study}`")
    spec = load_study(there.folder / "study.yaml", overrides)
    if out is None:
        return spec, there
    place = at(out)
    place.refresh()
    return spec, place


def find_study(study: str, overrides: list[str] | None, scale: str = "small") -> tuple[Any, Path]:
    """A study and its folder, from a file, a folder or the name of an embedded one or of a protocol."""
    from importlib.resources import files

    from uncollapse.study import Study
    from uncollapse.study.config import load_study, parse

    path = Path(study)
    if path.is_dir():
        spec = load_study(path / "study.yaml", overrides)
        return spec, path
    found = find_protocol(study, scale, overrides)
    if found is not None:
        spec = found[0].study_at(scale) if found[1] is None else found[1]
        return spec, Path("runs") / spec.name
    embedded = files("uncollapse") / "studies" / f"{study}.yaml"
    if not path.exists() and "/" not in study and embedded.is_file():
        spec = parse(Study, embedded.read_text(encoding="utf-8"), f"{study}.yaml", overrides)
    else:
        spec = load_study(path, overrides)
    return spec, Path("runs") / spec.name
