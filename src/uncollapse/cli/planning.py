"""`uncollapse study plan`: time and storage of more runs on more workers than are at hand."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uncollapse.cli.folders import place_of, results_of
from uncollapse.cli.protocols import Scale
from uncollapse.cli.shared import AsJson, StudyPath, console
from uncollapse.errors import BadInput

if TYPE_CHECKING:
    from uncollapse.study.planning import Costs, Failures, Forecast, Storage

__all__ = ["study_plan"]

Where = Annotated[str | None, typer.Option("--out", help="Folder or address of the study.")]
Planned = Annotated[int, typer.Option("--runs", min=0, help="How many runs; 0 is as many as the study has.")]
Mtbf = Annotated[float, typer.Option("--mtbf", min=0, help="Hours between two failures of a worker; 0 is never.")]
Start = Annotated[float, typer.Option("--start", min=-1, help="Seconds until a worker is up; -1 measures it here.")]
HandOut = Annotated[float, typer.Option("--hand-out", min=0, help="Seconds that the driver needs for a run.")]


def study_plan(
    study: StudyPath,
    workers: Annotated[str, typer.Option("--workers", help="Numbers of workers, with commas.")] = "1,64,1024",
    runs: Planned = 0,
    mtbf: Mtbf = 168.0,
    start: Start = -1.0,
    hand_out: HandOut = 0.01,
    out: Where = None,
    page: Annotated[Path | None, typer.Option("--page", help="File to write; plan.html in the study's folder.")] = None,
    as_json: AsJson = False,
    scale: Scale = "small",
) -> None:
    """Work out what more runs would take, from what the finished ones of a study took.

    Example: `uncollapse study plan runs/demo --runs 10000 --workers 1,64,1024 --mtbf 24`
    """
    from uncollapse.report import planning as pages
    from uncollapse.study.planning import Failures, forecast, measured, start_seconds, write_seconds

    counts = numbers(workers)
    folder = place_of(study, out, scale).folder
    header, results = results_of(folder)
    costs, storage = measured(folder, results)
    failures = Failures(
        mtbf or math.inf, start_seconds() if start < 0 else start, hand_out, write_seconds(storage.checkpoint)
    )
    total = runs or len(header.get("hashes") or results)
    plans = [forecast(costs, total, count, failures) for count in counts]
    written = pages.write(str(header.get("name")), costs, storage, failures, plans, page or folder / "plan.html")
    if as_json:
        typer.echo(json.dumps(plain(costs, storage, failures, plans)))
    else:
        show(plans, storage, written)


def numbers(text: str) -> list[int]:
    """`1,64,1024`."""
    try:
        found = sorted({int(word) for word in text.split(",")})
    except ValueError:
        found = []
    if not found or found[0] < 1:
        raise BadInput(f"--workers looks like 1,64,1024, got {text!r}")
    return found


def plain(costs: "list[Costs]", storage: "Storage", failures: "Failures", plans: "list[Forecast]") -> dict[str, Any]:
    """Everything but the pictures, as JSON can hold it."""
    told = [{key: finite(value) for key, value in vars(one).items() if key != "example"} for one in plans]
    assumed = {key: finite(value) for key, value in asdict(failures).items()}
    kept = {**asdict(storage), "run": storage.run}
    return {"measured": len(costs), "storage": kept, "failures": assumed, "plans": told}


def finite(value: Any) -> Any:
    """A number, or None where it is infinite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def show(plans: "list[Forecast]", storage: "Storage", page: Path) -> None:
    """The table on the screen."""
    from rich.table import Table

    from uncollapse.report.planning import hours, size

    runs = plans[0].runs
    kept = f"{size(runs * storage.run)} in {runs * storage.files:,.0f} files"
    table = Table("workers", "time", "without failures", "work that counts", "failures", "lost work", "given up",
                  title=f"{runs:,} runs, which keep {kept}")  # fmt: skip
    for one in plans:
        table.add_row(
            f"{one.workers:,}", hours(one.seconds), hours(one.undisturbed), f"{one.utilisation:.0%}",
            f"{one.failures:,.1f}", hours(3600 * one.lost), f"{one.given_up:,.1f}",
        )  # fmt: skip
    console().print(table)
    console().print(f"page: {page}", soft_wrap=True)
