"""`uncollapse study`: run, work, status, table, report, export."""

from pathlib import Path
from typing import Annotated, Any

import typer

from uncollapse.cli.folders import export_folder, find_place, newest, place_of, results_of, write_page
from uncollapse.cli.planning import study_plan
from uncollapse.cli.protocols import Scale, compute_and_report, find_protocol, mark_folder, show_table
from uncollapse.cli.shared import HELP, DataDir, Overrides, Page, StudyPath, Workers, console, cores, stoppable
from uncollapse.cli.watching import study_status
from uncollapse.errors import BadInput, WorkFailed

__all__ = ["run_and_report", "study_app"]

study_app = typer.Typer(help="Compare methods over seeds: run, work, status, table, report.", **HELP)  # type: ignore[arg-type]
study_app.command("status")(study_status)
study_app.command("plan")(study_plan)

Place = Annotated[str | None, typer.Option("--out", help="Folder or address (s3://...); runs/NAME if not given.")]
Engine = Annotated[str, typer.Option("--engine", help="Where to run: local, ray, dask or slurm.")]
Address = Annotated[str | None, typer.Option("--address", help="Of a running Ray or Dask cluster.")]
Needs = Annotated[str, typer.Option("--resources", help="Of one run, such as cpus=4,gpus=1,memory=16GB.")]
Lease = Annotated[float, typer.Option("--lease", min=1, help="Seconds of silence after which a run is taken over.")]


@study_app.command("run")
def study_run(
    study: StudyPath,
    overrides: Overrides = None,
    out: Place = None,
    workers: Workers = 0,
    data_dir: DataDir = None,
    engine: Engine = "local",
    address: Address = None,
    resources: Needs = "",
    lease: Lease = 60.0,
    scale: Scale = "small",
) -> None:
    """Run what is not done yet; what is half done goes on where it was.

    Example: `uncollapse study run study.yaml --workers 2`
    """
    found = find_protocol(study, scale, overrides)
    if found is not None and found[1] is None:
        compute_and_report(found[0], scale, None if out is None else Path(out))
        return
    where: dict[str, Any] = {"engine": engine, "address": address, "resources": resources, "lease": lease}
    command = repeating("run", study, overrides, scale if found else None)
    run_and_report(study, overrides, out, workers, data_dir, command, scale, **where)


@study_app.command("work")
def study_work(
    study: StudyPath,
    overrides: Overrides = None,
    out: Place = None,
    data_dir: DataDir = None,
    again: Annotated[bool, typer.Option("--again", help="Also take runs that failed before.")] = False,
    lease: Lease = 60.0,
    scale: Scale = "small",
) -> None:
    """Do whatever run is free until all are done: start it as often as you like, on all machines that see the folder.

    Example: `uncollapse study work study.yaml --out /shared/study`
    """
    from uncollapse.study.display import live
    from uncollapse.study.engines.base import quiet
    from uncollapse.study.worker import work_through

    found = find_protocol(study, scale, overrides)
    if found is not None and found[1] is None:
        raise BadInput(f"{study} is computed exactly, by `uncollapse study run {study}`; there are no runs to share")
    with quiet(1):
        spec, place = find_place(study, overrides, out, scale)
        mark(study, scale, place)
        command = repeating("run", study, overrides, scale if found else None)
        with stoppable("another worker, or the same command, goes on"), live(console()) as watch:
            jobs = work_through(spec, place, text(data_dir), watch, command, lease, again)
    complain(jobs)


@study_app.command("table")
def study_table(
    study: StudyPath,
    form: Annotated[str, typer.Option("--format", help="rich, markdown, csv, latex or json.")] = "rich",
    out: Place = None,
    scale: Scale = "small",
) -> None:
    """Print the table of a study from its result files; of a protocol the published numbers and its claims too.

    Example: `uncollapse study table runs/demo --format latex`
    """
    from uncollapse import report

    header, results = results_of(place_of(study, out, scale).folder)
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
def study_report(study: StudyPath, out: Place = None, page: Page = None, scale: Scale = "small") -> None:
    """Write the page of a study from its result files.

    Example: `uncollapse study report runs/demo --page page.html`
    """
    place = place_of(study, out, scale)
    header, results = results_of(place.folder)
    if page is not None:
        typer.echo(f"page: {write_page(header, results, page)}")
    else:
        typer.echo(f"page: {published_page(header, results, place)}")


@study_app.command("export")
def study_export(
    study: StudyPath,
    to: Annotated[Path, typer.Option("--to", help="The folder to write; `study table` and `study report` read it.")],
    out: Place = None,
    scale: Scale = "small",
) -> None:
    """Copy a study's results, tables, frontier and page into a small folder, without weights and logs.

    Example: `uncollapse study export runs/demo --to kept/demo`
    """
    files = export_folder(place_of(study, out, scale).folder, to)
    typer.echo(f"{len(files)} files, {sum(path.stat().st_size for path in files) / 1e3:,.0f} kB: {to}")


def run_and_report(
    study: str,
    overrides: list[str] | None,
    out: str | Path | None,
    workers: int,
    data_dir: Path | None,
    command: str,
    scale: str = "small",
    engine: str = "local",
    address: str | None = None,
    resources: str = "",
    lease: float = 60.0,
) -> None:
    """Run a study with a live display, print its table, write its page."""
    from uncollapse.study.display import live
    from uncollapse.study.engines import Resources, open_engine
    from uncollapse.study.runner import plan, run_study

    needs = Resources.of(resources)
    spec, place = find_place(study, overrides, None if out is None else str(out), scale)
    jobs = plan(spec, place.folder, text(data_dir))
    count = min(workers or max(cores() // needs.cpus, 1), len(jobs))
    idle = all(job.state == "done" for job in jobs)
    screen = console()
    mark(study, scale, place)
    where = (engine, count, address, needs, place.folder / "slurm") if not idle else ("local", 1)
    with stoppable(), live(screen) as watch, open_engine(*where) as opened:
        jobs = run_study(spec, place, opened, text(data_dir), watch, command, jobs, lease)
    if any(job.state == "done" for job in jobs):
        show(place, screen, idle)
    complain(jobs)


def show(place: Any, screen: Any, idle: bool) -> None:
    """Print the table of a study, and write its page unless nothing has changed."""
    from uncollapse import report

    header, results = results_of(place.folder)
    screen.print(report.to_rich(report.rows(results, header["arms"], seeds=header["seeds"]), width=screen.width))
    if "protocol" in header:
        show_table(header["protocol"], "rich")
    page = place.folder / "report.html"
    where = page if idle and newest(page, place.folder) else published_page(header, results, place)
    screen.print(f"page: {where}", soft_wrap=True)


def published_page(header: dict[str, Any], results: list[dict[str, Any]], place: Any) -> str:
    """Write the page of a study where the study lies."""
    from uncollapse.storage import is_address

    page = write_page(header, results, place.folder / "report.html")
    place.publish("report.html")
    return f"{place.name}/report.html" if is_address(place.name) else str(page)


def complain(jobs: list[Any]) -> None:
    """Say which runs failed, if any did."""
    failed = [job for job in jobs if job.state == "failed"]
    if failed:
        reasons = "; ".join(f"{job.label}: {job.note}" for job in failed)
        raise WorkFailed(f"{len(failed)} of {len(jobs)} runs failed ({reasons}); run the same command to try again")


def mark(study: str, scale: str, place: Any) -> None:
    """Write down which protocol a study belongs to, where it does."""
    from uncollapse.storage import is_address

    if not is_address(study):
        mark_folder(study, scale, place.folder)
        place.publish("protocol.json")


def repeating(verb: str, study: str, overrides: list[str] | None, scale: str | None) -> str:
    """The command that repeats a study."""
    return " ".join([f"uncollapse study {verb} {study}", *([f"--scale {scale}"] if scale else []), *(overrides or [])])


def text(path: Path | None) -> str | None:
    """A folder for workers, which may run elsewhere."""
    return None if path is None else str(path.absolute())
