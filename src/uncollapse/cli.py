"""The command line: demo, fit, study, data. Errors are one sentence; exit code 2 is bad usage, 1 failed work."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

import uncollapse
from uncollapse.errors import BadInput, Interrupted, UncollapseError, WorkFailed

__all__ = ["app", "main"]

HELP = {"context_settings": {"help_option_names": ["-h", "--help"]}, "no_args_is_help": True}
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown", **HELP)  # type: ignore[arg-type]
study_app = typer.Typer(help="Compare methods over seeds: run, status, table, report.", **HELP)  # type: ignore[arg-type]
data_app = typer.Typer(help="What data there are, and where they are looked for.", **HELP)  # type: ignore[arg-type]
app.add_typer(study_app, name="study")
app.add_typer(data_app, name="data")

Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of the study; runs/NAME if not given.")]
Workers = Annotated[int, typer.Option("--workers", min=0, help="Processes; 0 is one a core.")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Where data files lie.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Page = Annotated[Path | None, typer.Option("--page", help="File to write; report.html in the study's folder.")]
StudyPath = Annotated[str, typer.Argument(help="A study.yaml, a folder that holds one, or `demo`.")]


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    """Find out whether a VAE's posterior has collapsed, why, and what to do about it."""
    if version:
        typer.echo(uncollapse.__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


@app.command()
def demo(overrides: Overrides = None, out: Out = None, workers: Workers = 0) -> None:
    """Train, compare and judge six methods on real digits, in about two minutes on two cores.

    Example: `uncollapse demo`, or shorter: `uncollapse demo fit.batches=200 "seeds=[0]"`
    """
    run_and_report("demo", overrides, out, workers, None, "uncollapse demo")


@app.command("fit")
def fit_command(
    config: Annotated[Path, typer.Argument(help="A YAML file with data, model, remedies, fit, measure, seed.")],
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option("--out", help="Folder in which the run's folder is made.")] = Path("runs/fit"),
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Train and measure one model; a half-done run is resumed, a finished one is shown.

    Example: `uncollapse fit config.yaml fit.lr=1e-3 seed=2`
    """
    from uncollapse.study.build import load_data
    from uncollapse.study.config import load_run
    from uncollapse.study.work import execute

    run = load_run(config, overrides)
    where = None if data_dir is None else str(data_dir)
    folder = out / run.hash(load_data(run, where).fingerprint)
    with stoppable():
        result = execute(run, folder, where, progress=not as_json)
    if as_json:
        typer.echo(json.dumps(result))
    else:
        show_result(result, folder)


@study_app.command("run")
def study_run(
    study: StudyPath,
    overrides: Overrides = None,
    out: Out = None,
    workers: Workers = 0,
    data_dir: DataDir = None,
    engine: Annotated[str, typer.Option("--engine", help="Where to run; `local` is this machine.")] = "local",
) -> None:
    """Run what is not done yet; what is half done goes on where it was.

    Example: `uncollapse study run study.yaml --workers 2`
    """
    if engine != "local":
        raise BadInput(f"there is no engine {engine!r}; this version has local")
    run_and_report(study, overrides, out, workers, data_dir, f"uncollapse study run {study}")


@study_app.command("status")
def study_status(study: StudyPath, out: Out = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Say which runs are done, half done, waiting or failed.

    Example: `uncollapse study status runs/demo`
    """
    from uncollapse.study.runner import plan

    spec, folder = find_study(study, None, out)
    jobs = plan(spec, folder, None if data_dir is None else str(data_dir))
    rows = [
        {"arm": job.run.arm, "seed": job.run.seed, "state": job.state, "step": job.progress().get("step", 0),
         "folder": str(job.folder), "note": job.note} for job in jobs
    ]  # fmt: skip
    if as_json:
        typer.echo(json.dumps(rows))
        return
    from rich.table import Table

    table = Table("method", "seed", "state", "step", "note", title=f"{spec.name}: {counted(rows)}")
    for row in rows:
        table.add_row(*(str(row[key]) for key in ("arm", "seed", "state", "step", "note")))
    console().print(table)


@study_app.command("table")
def study_table(
    study: StudyPath,
    form: Annotated[str, typer.Option("--format", help="rich, markdown, csv, latex or json.")] = "rich",
    out: Out = None,
) -> None:
    """Print the table of a study from its result files.

    Example: `uncollapse study table runs/demo --format latex`
    """
    from uncollapse import report

    _, folder = find_study(study, None, out)
    header, results = results_of(folder)
    rows = report.rows(results, header["arms"], seeds=header["seeds"])
    writers = {"csv": report.to_csv, "latex": report.to_latex, "json": report.to_json, "markdown": report.to_markdown}
    if form == "rich":
        screen = console()
        screen.print(report.to_rich(rows, width=screen.width))
    elif form in writers:
        typer.echo(writers[form](rows))
    else:
        raise BadInput(f"there is no table format {form!r}; there are rich, {', '.join(writers)}")


@study_app.command("report")
def study_report(study: StudyPath, out: Out = None, page: Page = None) -> None:
    """Write the page of a study from its result files.

    Example: `uncollapse study report runs/demo --page page.html`
    """
    from uncollapse import report

    _, folder = find_study(study, None, out)
    header, results = results_of(folder)
    typer.echo(f"page: {report.write(header, results, page or folder / 'report.html')}")


@study_app.command("export")
def study_export(
    study: StudyPath,
    to: Annotated[Path, typer.Option("--to", help="The folder to write; `study table` and `study report` read it.")],
    out: Out = None,
) -> None:
    """Copy a study's results, tables, frontier and page into a small folder, without weights and logs.

    Example: `uncollapse study export runs/demo --to kept/demo`
    """
    from uncollapse import report

    _, folder = find_study(study, None, out)
    files = report.export(folder, to)
    typer.echo(f"{len(files)} files, {sum(path.stat().st_size for path in files) / 1e3:,.0f} kB: {to}")


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


def run_and_report(
    study: str, overrides: list[str] | None, out: Path | None, workers: int, data_dir: Path | None, command: str
) -> None:
    """Run a study with a live display, print its table, write its page."""
    from uncollapse import report
    from uncollapse.study.display import live
    from uncollapse.study.engine import local_engine
    from uncollapse.study.runner import plan, run_study

    spec, folder = find_study(study, overrides, out)
    where = None if data_dir is None else str(data_dir)
    jobs = plan(spec, folder, where)
    count = min(workers or cores(), len(spec.runs()))
    screen = console()
    with stoppable(), live(screen) as watch, local_engine(count) as engine:
        jobs = run_study(spec, folder, engine, where, watch, command, jobs)
    failed = [job for job in jobs if job.state == "failed"]
    if len(failed) < len(jobs):
        header, results = results_of(folder)
        screen.print(report.to_rich(report.rows(results, header["arms"], seeds=header["seeds"]), width=screen.width))
        screen.print(f"page: {report.write(header, results, folder / 'report.html')}", soft_wrap=True)
    if failed:
        reasons = "; ".join(f"{job.label}: {job.note}" for job in failed)
        raise WorkFailed(f"{len(failed)} of {len(jobs)} runs failed ({reasons}); run the same command to try again")


def results_of(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Header and results of a study folder; what had to be left out is said on the error stream."""
    from uncollapse import report
    from uncollapse.store import read_json

    mark = folder / "study.json"
    if not mark.exists():
        raise BadInput(f"{folder} holds no study yet; `uncollapse study run` makes one")
    header, results = report.load_results(folder, read_json(mark))
    for remark in header.get("remarks", []):
        typer.secho(f"note: {remark}", fg="yellow", err=True)
    return header, results


def find_study(study: str, overrides: list[str] | None, out: Path | None) -> tuple[Any, Path]:
    """A study and its folder, from a file, a folder or the name of an embedded one."""
    from importlib.resources import files

    from uncollapse.study import Study
    from uncollapse.study.config import load_study, parse

    path = Path(study)
    if path.is_dir():
        spec = load_study(path / "study.yaml", overrides)
        return spec, out or path
    embedded = files("uncollapse") / "studies" / f"{study}.yaml"
    if not path.exists() and "/" not in study and embedded.is_file():
        spec = parse(Study, embedded.read_text(encoding="utf-8"), f"{study}.yaml", overrides)
    else:
        spec = load_study(path, overrides)
    return spec, out or Path("runs") / spec.name


def show_result(result: dict[str, Any], folder: Path) -> None:
    """One run's numbers and verdict."""
    from rich.table import Table

    table = Table("metric", "value", "standard error", "unit", title=f"verdict: {result['verdict']['word']}")
    for name, one in result["metrics"].items():
        value, se = (("-" if one[key] is None else f"{one[key]:.3f}") for key in ("value", "se"))
        table.add_row(name, value, se, one["unit"])
    console().print(table)
    for reason in result["verdict"]["reasons"]:
        console().print(f"  {reason}")
    console().print(f"folder: {folder}", soft_wrap=True)


def entry_dict(entry: Any) -> dict[str, Any]:
    """An entry of the catalogue as plain values."""
    from dataclasses import asdict

    plain: dict[str, Any] = json.loads(json.dumps(asdict(entry), default=str))
    return plain


def counted(rows: list[dict[str, Any]]) -> str:
    """`3 done, 1 waiting`."""
    states = [row["state"] for row in rows]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn Ctrl-C into one sentence."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise Interrupted(str(interrupt) or "stopped; what is done is kept, run the same command to go on") from None


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def console() -> Any:
    """Where people read; a file is as wide as the table."""
    from rich.console import Console

    screen = Console()
    return screen if screen.is_terminal else Console(width=max(screen.width, 120))


def main() -> None:
    """Run the program."""
    debug = "--debug" in sys.argv
    try:
        app()
    except UncollapseError as error:
        if debug:
            raise
        typer.secho(f"error: {error}", fg="red", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
