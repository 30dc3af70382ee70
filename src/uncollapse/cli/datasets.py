"""`uncollapse data`: list and show."""

import json
from typing import Any

import typer

from uncollapse.cli.shared import HELP, AsJson, DataDir, console
from uncollapse.errors import BadInput

__all__ = ["data_app"]

data_app = typer.Typer(help="What data there are, and where they are looked for.", **HELP)  # type: ignore[arg-type]


@data_app.command("list")
def data_list(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the data sets, and which are at hand.

    Example: `uncollapse data list`
    """
    from uncollapse import data

    entries = data.catalogue(None if data_dir is None else str(data_dir))
    if as_json:
        typer.echo(json.dumps([entry_dict(entry) for entry in entries]))
        return
    from rich.table import Table

    table = Table("name", "what", "shape", "at hand")
    for entry in entries:
        table.add_row(entry.name, entry.what, str(entry.shape), "yes" if entry.present else "no")
    console().print(table)


@data_app.command("show")
def data_show(name: str, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Say what a data set is, where it is looked for and how to cite it.

    Example: `uncollapse data show mnist`
    """
    import difflib

    from uncollapse import data

    entries = {entry.name: entry for entry in data.catalogue(None if data_dir is None else str(data_dir))}
    if name not in entries:
        near = difflib.get_close_matches(name, entries, 1)
        raise BadInput(f"there is no data set {name!r}; " + (f"did you mean {near[0]}?" if near else "see `data list`"))
    found = entry_dict(entries[name])
    if as_json:
        typer.echo(json.dumps(found))
        return
    entry = entries[name]
    lines = {
        "what": entry.what,
        "shape": " x ".join(map(str, entry.shape)),
        "examples": "{:,} to train, {:,} to validate, {:,} to test".format(*entry.size),
        "at hand": "yes" if entry.present else "no; see where it is looked for",
        "looked for in": ", ".join(map(str, entry.places)) or "nowhere: it needs no file",
        "cite": entry.citation,
        "licence": entry.licence,
    }
    typer.echo(name)
    for key, value in lines.items():
        typer.echo(f"  {key + ':':<15}{value}")


def entry_dict(entry: Any) -> dict[str, Any]:
    """An entry of the catalogue as plain values."""
    from dataclasses import asdict

    plain: dict[str, Any] = json.loads(json.dumps(asdict(entry), default=str))
    return plain
