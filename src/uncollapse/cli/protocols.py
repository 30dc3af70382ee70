"""`uncollapse protocols`: list and show; and what `uncollapse study` needs to run one by its name."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uncollapse.cli.shared import HELP, AsJson, DataDir, console
from uncollapse.errors import BadInput

if TYPE_CHECKING:
    from uncollapse.protocols import Protocol
    from uncollapse.study import Study

__all__ = ["compute_and_report", "find_protocol", "mark_folder", "protocols_app", "show_table", "with_protocol"]

protocols_app = typer.Typer(help="The papers' tables and figures by name: list, show.", **HELP)  # type: ignore[arg-type]

Scale = Annotated[str, typer.Option("--scale", help="Budget: small or paper.")]
KEPT = Path("results")  #: where exported results are kept, below the present folder


@protocols_app.command("list")
def protocols_list(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List what can be run, whether its data are there, and whether results are kept.

    Example: `uncollapse protocols list`
    """
    from uncollapse.protocols import load, names

    rows = [summary(load(name), data_dir) for name in names()]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    from rich.table import Table

    table = Table("name", "paper", "what", "data at hand", "kept", title=f"{len(rows)} protocols")
    for row in rows:
        table.add_row(row["name"], row["paper"], row["title"], row["data"], row["kept"])
    screen = console()
    screen.print(table)
    screen.print("uncollapse protocols show NAME; uncollapse study run NAME --scale small", soft_wrap=True)


@protocols_app.command("show")
def protocols_show(name: Annotated[str, typer.Argument(help="A name of the list.")], as_json: AsJson = False) -> None:
    """Show what was published, how it was measured, and how it is repeated.

    Example: `uncollapse protocols show fmn-toy`
    """
    from dataclasses import asdict

    from uncollapse.protocols import load
    from uncollapse.report.protocol.described import described

    protocol = asdict(load(name))
    typer.echo(json.dumps(protocol, indent=2, ensure_ascii=False) if as_json else described(protocol))


def summary(protocol: "Protocol", data_dir: Path | None) -> dict[str, str]:
    """One line of the list."""
    found = {scale: missing(protocol, scale, data_dir) for scale in protocol.scales}
    lacking = [f"{scale}: no {', '.join(sets)}" for scale, sets in found.items() if sets]
    if len({tuple(sets) for sets in found.values()}) == 1:
        lacking = [f"no {', '.join(sets)}" for sets in found.values() if sets][:1]
    kept = [scale for scale in protocol.scales if (KEPT / f"{protocol.name}-{scale}").is_dir()]
    return {
        "name": protocol.name, "title": protocol.title,
        "paper": source(protocol.paper.citation), "where": protocol.paper.where,
        "data": "; ".join(lacking) or ("none needed" if protocol.compute else "yes"), "kept": ", ".join(kept) or "–",
    }  # fmt: skip


def source(citation: str) -> str:
    """First author and year.

    Example:
        >>> source("Lucas, Tucker, Grosse, Norouzi, 2019, Don't blame the ELBO!")
        'Lucas 2019'
    """
    found = re.search(r"\b(19|20)\d\d\b", citation)
    return citation.split(",")[0].split(";")[0] + (f" {found[0]}" if found else "")


def missing(protocol: "Protocol", scale: str, data_dir: Path | None) -> list[str]:
    """Data sets of a scale whose files are not there."""
    from uncollapse.data import catalogue

    if protocol.compute:
        return []
    present = {entry.name for entry in catalogue(data_dir) if entry.present}
    wanted = dict.fromkeys(run.data_name for run in protocol.study_at(scale).runs())
    return [name for name in wanted if name not in present]


def find_protocol(name: str, scale: str, overrides: list[str] | None) -> "tuple[Protocol, Study | None] | None":
    """A protocol by its name and its study at a scale; None where no protocol has this name."""
    if Path(name).exists():  # a file or folder needs none of the rest, which is slow to load
        return None
    from uncollapse.protocols import load, names
    from uncollapse.protocols.reading import study_of
    from uncollapse.study.config import override

    if name not in names():
        return None
    protocol = load(name)
    protocol.changes(scale)
    if protocol.compute:
        if overrides:
            raise BadInput(f"{name} is computed exactly and takes no settings, got {overrides[0]!r}")
        return protocol, None
    settings = protocol.settings(scale)
    for assignment in overrides or []:
        override(settings, assignment)
    return protocol, study_of(settings, f"{name}, scale {scale}")


def mark_folder(study: str, scale: str, folder: Path) -> None:
    """Write down that a folder holds the runs of a protocol, where it does."""
    if Path(study).exists():
        return
    from uncollapse.protocols import load, names
    from uncollapse.protocols.folder import mark

    if study in names():
        mark(folder, load(study), scale)


def with_protocol(folder: Path, header: dict[str, Any], results: list[dict[str, Any]]) -> dict[str, Any]:
    """The header of a study, with the table of its protocol where it belongs to one."""
    if not (folder / "protocol.json").exists():
        return header
    from uncollapse.protocols.folder import view_of

    view = view_of(folder, header, results)
    return header if view is None else {**header, "protocol": view}


def show_table(view: dict[str, Any], form: str) -> bool:
    """Print the table of a protocol; False for a form that it does not have."""
    from uncollapse.report import protocol

    writers: dict[str, Callable[[dict[str, Any]], str]] = {"markdown": protocol.to_markdown, "json": protocol.to_json}
    if form == "rich":
        console().print(protocol.to_rich(view))
    elif form in writers:
        typer.echo(writers[form](view), nl=False)
    return form in writers or form == "rich"


def compute_and_report(protocol: "Protocol", scale: str, out: Path | None) -> None:
    """Do an exact computation, print its table and claims, write its page."""
    from uncollapse.protocols.folder import compute, mark, view_of
    from uncollapse.report.protocol import page

    folder = out or Path("runs") / f"{protocol.name}-{scale}"
    screen = console()
    found = compute(protocol, scale, lambda words: screen.print(words, style="dim"))
    mark(folder, protocol, scale, found)
    view = view_of(folder, {}, [])
    assert view is not None
    show_table(view, "rich")
    screen.print(f"page: {page.write(view, folder / 'report.html')}", soft_wrap=True)
