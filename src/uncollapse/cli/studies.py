"""`uncollapse study`: run, status, table, report, export."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from uncollapse.cli.shared import (
    HELP,
    AsJson,
    DataDir,
    Out,
    Overrides,
    Page,
    StudyPath,
    Workers,
    console,
    cores,
    stoppable,
)
from uncollapse.errors import BadInput, WorkFailed

__all__ = ["run_and_report", "study_app"]

study_app = typer.Typer(help="Compare methods over seeds: run, status, table, report.", **HELP)  # type: ignore[arg-type]


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


def counted(rows: list[dict[str, Any]]) -> str:
    """`3 done, 1 waiting`."""
    states = [row["state"] for row in rows]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
