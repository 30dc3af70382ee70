"""`uncollapse study`: run, status, table, report, export."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from uncollapse.cli.folders import export_folder, find_study, folder_of, newest, results_of, write_page
from uncollapse.cli.protocols import Scale, compute_and_report, find_protocol, mark_folder, show_table
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
    scale: Scale = "small",
) -> None:
    """Run what is not done yet; what is half done goes on where it was.

    Example: `uncollapse study run study.yaml --workers 2`
    """
    if engine != "local":
        raise BadInput(f"there is no engine {engine!r}; this version has local")
    found = find_protocol(study, scale, overrides)
    if found is not None and found[1] is None:
        compute_and_report(found[0], scale, out)
        return
    words = [f"uncollapse study run {study}", *([f"--scale {scale}"] if found else []), *(overrides or [])]
    run_and_report(study, overrides, out, workers, data_dir, " ".join(words), scale)


@study_app.command("status")
def study_status(
    study: StudyPath, out: Out = None, data_dir: DataDir = None, as_json: AsJson = False, scale: Scale = "small"
) -> None:
    """Say which runs are done, half done, waiting or failed.

    Example: `uncollapse study status runs/demo`
    """
    from uncollapse.study.runner import plan

    spec, folder = find_study(study, None, out, scale)
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
    scale: Scale = "small",
) -> None:
    """Print the table of a study from its result files; of a protocol the published numbers and its claims too.

    Example: `uncollapse study table runs/demo --format latex`
    """
    from uncollapse import report

    folder = folder_of(study, out, scale)
    header, results = results_of(folder)
    if "protocol" in header and show_table(header["protocol"], form):
        return
    if not results:
        raise BadInput(f"an exact computation has the formats rich, markdown and json, got {form!r}")
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
def study_report(study: StudyPath, out: Out = None, page: Page = None, scale: Scale = "small") -> None:
    """Write the page of a study from its result files.

    Example: `uncollapse study report runs/demo --page page.html`
    """
    folder = folder_of(study, out, scale)
    header, results = results_of(folder)
    typer.echo(f"page: {write_page(header, results, page or folder / 'report.html')}")


@study_app.command("export")
def study_export(
    study: StudyPath,
    to: Annotated[Path, typer.Option("--to", help="The folder to write; `study table` and `study report` read it.")],
    out: Out = None,
    scale: Scale = "small",
) -> None:
    """Copy a study's results, tables, frontier and page into a small folder, without weights and logs.

    Example: `uncollapse study export runs/demo --to kept/demo`
    """
    folder = folder_of(study, out, scale)
    files = export_folder(folder, to)
    typer.echo(f"{len(files)} files, {sum(path.stat().st_size for path in files) / 1e3:,.0f} kB: {to}")


def run_and_report(
    study: str,
    overrides: list[str] | None,
    out: Path | None,
    workers: int,
    data_dir: Path | None,
    command: str,
    scale: str = "small",
) -> None:
    """Run a study with a live display, print its table, write its page."""
    from uncollapse import report
    from uncollapse.study.display import live
    from uncollapse.study.engine import local_engine
    from uncollapse.study.runner import plan, run_study

    spec, folder = find_study(study, overrides, out, scale)
    where = None if data_dir is None else str(data_dir)
    jobs = plan(spec, folder, where)
    count = min(workers or cores(), len(jobs))
    idle = all(job.state == "done" for job in jobs)
    screen = console()
    mark_folder(study, scale, folder)
    with stoppable(), live(screen) as watch, local_engine(count) as engine:
        jobs = run_study(spec, folder, engine, where, watch, command, jobs)
    failed = [job for job in jobs if job.state == "failed"]
    if len(failed) < len(jobs):
        header, results = results_of(folder)
        screen.print(report.to_rich(report.rows(results, header["arms"], seeds=header["seeds"]), width=screen.width))
        if "protocol" in header:
            show_table(header["protocol"], "rich")
        page = folder / "report.html"
        if not (idle and newest(page, folder)):
            write_page(header, results, page)
        screen.print(f"page: {page}", soft_wrap=True)
    if failed:
        reasons = "; ".join(f"{job.label}: {job.note}" for job in failed)
        raise WorkFailed(f"{len(failed)} of {len(jobs)} runs failed ({reasons}); run the same command to try again")


def counted(rows: list[dict[str, Any]]) -> str:
    """`3 done, 1 waiting`."""
    states = [row["state"] for row in rows]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
