"""`uncollapse data`: list, show, check and fetch."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

import typer

from uncollapse.cli.shared import HELP, AsJson, DataDir, console, stoppable
from uncollapse.errors import spelled

__all__ = ["data_app"]

data_app = typer.Typer(help="What data there are, where they are looked for, and whether they are sound.", **HELP)  # type: ignore[arg-type]

Name = Annotated[str, typer.Argument(help="A name from `uncollapse data list`.")]
Replace = Annotated[bool, typer.Option("--replace", help="Replace files that are not the published ones.")]


@data_app.command("list")
def data_list(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the data sets, and which are at hand.

    Example: `uncollapse data list`
    """
    from uncollapse import data

    rows = [entry_dict(name, data_dir) for name in data.names()]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    from rich.table import Table

    table = Table("name", "what", "example", "at hand", "stands in for")
    for row in rows:
        held = "yes" if row["present"] else "can be fetched" if row["remote"] else "no"
        table.add_row(row["name"], row["what"], shape_text(row["shape"]), held, row["stands_in_for"])
    console().print(table)


@data_app.command("show")
def data_show(name: Name, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Say what a data set is, where it is looked for, how to get it and how to cite it.

    Example: `uncollapse data show mnist`
    """
    found = entry_dict(name, data_dir)
    if as_json:
        typer.echo(json.dumps(found))
        return
    sizes = "{:,} to train, {:,} to validate, {:,} to test".format(*found["size"])
    lines = {
        "what": found["what"],
        "example": shape_text(found["shape"]),
        "examples": sizes if all(found["size"]) else "as many as the files hold",
        "stands in for": found["stands_in_for"],
        "at hand": f"yes, in {found['folder']}" if found["folder"] else "yes" if found["present"] else "no",
        "files": ", ".join(" or ".join(group[:2]) for group in found["files"]),
        "looked for in": ", ".join(found["places"]) or "nowhere: it needs no file",
        "how to get it": how_to_get(found),
        "cite": found["citation"],
        "licence": found["licence"],
    }
    typer.echo(name)
    for key, value in lines.items():
        if value:
            typer.echo(f"  {key + ':':<15}{value}")


@data_app.command("check")
def data_check(
    name: Annotated[str, typer.Argument(metavar="NAME_OR_PATH", help="A data set, or a file or folder.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Open a data set or a file, and say what it is, or what is damaged in it.

    Exit code 1 if it is damaged, 2 if there is no such thing.

    Example: `uncollapse data check mnist`
    """
    from uncollapse import data

    with stoppable("nothing was changed"):
        report = data.check(name, data_dir)
    if as_json:
        typer.echo(json.dumps({**asdict(report), "verdict": report.verdict}, default=str))
    else:
        lines = [report.name, *(f"  {key + ':':<15}{value}" for key, value in report.found.items())]
        for one in report.files:
            lines += [f"  {one.path}: {one.size:,} bytes, SHA-256 {one.sha256[:16]}..., {one.origin}"]
        for line in (*lines, report.verdict):
            typer.echo(spelled(line))
    if report.problem:
        raise typer.Exit(1)


@data_app.command("fetch")
def data_fetch(name: Name, data_dir: DataDir = None, replace: Replace = False, as_json: AsJson = False) -> None:
    """Download the files of a data set; a broken download goes on where it stopped.

    Example: `uncollapse data fetch mnist --data-dir ~/data`
    """
    from uncollapse import data

    with stoppable("what came is kept, run the same command to go on"), bars(as_json) as progress:
        files = data.fetch(name, data_dir, progress, replace)
    if as_json:
        typer.echo(json.dumps([str(file) for file in files]))
        return
    for file in files:
        typer.echo(f"{file}: {file.stat().st_size:,} bytes, as published")


@contextmanager
def bars(quiet: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """A bar a file on the screen, none where a program reads."""
    if quiet:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as shown:
        tasks: dict[str, Any] = {}

        def progress(file: str, done: int, total: int) -> None:
            if file not in tasks:
                tasks[file] = shown.add_task(file, total=total)
            shown.update(tasks[file], completed=done)

        yield progress


def how_to_get(found: dict[str, Any]) -> str:
    """One line on where the files come from."""
    if found["remote"]:
        size = sum(one["size"] for one in found["remote"])
        return f"`uncollapse data fetch {found['name']}` ({size / 1e6:,.1f} MB)"
    return str(found["by_hand"])


def shape_text(shape: list[int]) -> str:
    """A shape for people."""
    return " x ".join(str(size) if size else "any" for size in shape)


def entry_dict(name: str, data_dir: Any) -> dict[str, Any]:
    """What is known about a data set, as plain values."""
    from uncollapse import data

    source = data.about(name)
    plain: dict[str, Any] = asdict(source)
    del plain["load"]
    folder = source.find(data_dir)
    extra = {
        "nbytes": source.nbytes,
        "places": source.places(data_dir),
        "present": source.present(data_dir),
        "folder": folder,
    }
    named: dict[str, Any] = json.loads(json.dumps(plain | extra, default=str))
    return {**named, "folder": None if folder is None else str(folder)}
