"""`uncollapse study status`: once, or as long as somebody watches."""

import json
import time
from typing import Annotated, Any

import typer

from uncollapse.cli.folders import find_place
from uncollapse.cli.protocols import Scale
from uncollapse.cli.shared import AsJson, DataDir, StudyPath, console, stoppable

__all__ = ["study_status"]

EVERY = 2.0  #: seconds between two looks


def study_status(
    study: StudyPath,
    out: Annotated[str | None, typer.Option("--out", help="Folder or address of the study.")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Look again and again until all runs are over.")] = False,
    scale: Scale = "small",
) -> None:
    """Say which runs are done, running, half done, waiting or failed, who does them and how fast.

    Example: `uncollapse study status runs/demo --watch`
    """
    from uncollapse.study.jobs import survey
    from uncollapse.study.status import Status

    spec, place = find_place(study, None, out, scale)
    status = Status()
    where = None if data_dir is None else str(data_dir)

    def look() -> list[dict[str, Any]]:
        place.refresh()
        return status.rows(survey(spec, place.folder, where))

    if as_json and not watch:
        typer.echo(json.dumps(look()))
    elif as_json:
        with stoppable("nothing was changed"):
            follow(look, lambda rows: typer.echo(json.dumps(rows)))
    elif not watch:
        console().print(drawn(spec.name, look()))
    else:
        from rich.live import Live

        with stoppable("nothing was changed"), Live(console=console(), auto_refresh=False) as screen:
            follow(look, lambda rows: screen.update(drawn(spec.name, rows), refresh=True))


def follow(look: Any, show: Any) -> None:
    """Look and show until all runs are over."""
    while True:
        rows = look()
        show(rows)
        if all(row["state"] in {"done", "failed"} for row in rows):
            return
        time.sleep(EVERY)


def drawn(name: str, rows: list[dict[str, Any]]) -> Any:
    """The table of a study; finished runs are a number once there are many."""
    from rich.table import Table

    from uncollapse.study.status import counted, left

    seconds = left(rows)
    title = f"{name}: {counted(rows)}" + ("" if seconds is None else f"; about {span(seconds)} of training left")
    table = Table("method", "seed", "state", "step", "steps/s", "left", "worker", "sign of life", "note", title=title)
    shown = rows if len(rows) <= 40 else [row for row in rows if row["state"] not in {"done", "waiting"}]
    for row in shown:
        step = f"{row['step']}/{row['total']}" if row["total"] else str(row["step"])
        table.add_row(
            row["arm"], str(row["seed"]), row["state"], step, "" if row["rate"] is None else f"{row['rate']:.1f}",
            "" if not row["eta"] else span(row["eta"]), " ".join(filter(None, [row["worker"], row["engine"]])),
            "" if row["beat"] is None else f"{span(row['beat'])} ago", row["note"],
        )  # fmt: skip
    return table


def span(seconds: float) -> str:
    """A time in words.

    Example:
        >>> span(7), span(130), span(7300)
        ('7 s', '2.2 min', '2.0 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
