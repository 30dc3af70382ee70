"""A live view of a running study: one bar for the whole, one a running job."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from uncollapse.errors import spelled
from uncollapse.study.runner import Job

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

__all__ = ["live"]


@contextmanager
def live(console: "Console") -> Iterator[Callable[[list[Job]], None]]:
    """A function that shows the state of all jobs; without a terminal it prints a line a job that ends."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description:<28}", markup=False),  # names of methods may hold brackets
        BarColumn(24),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, TimeElapsedColumn(), console=console) as bars:
        whole = bars.add_task("all runs", total=None, note="starting")
        rows: dict[str, TaskID] = {}
        told: set[str] = set()

        def show(jobs: list[Job]) -> None:
            over = [job for job in jobs if job.state in {"done", "failed"}]
            bars.update(whole, total=len(jobs), completed=len(over), note=f"{len(over)} of {len(jobs)} done")
            for job in jobs:
                name = job.folder.name
                if job.state == "running":
                    if name not in rows:
                        rows[name] = bars.add_task(spelled(job.label), total=1, note="")
                    update(bars, rows[name], job)
                elif name in rows:
                    bars.remove_task(rows.pop(name))
            if not console.is_terminal:
                tell(console, over, told)

        yield show


def tell(console: "Console", over: list[Job], told: set[str]) -> None:
    """A line a job that is over and was not told of; what was done before is counted in one line."""
    before = [] if told else [job for job in over if job.state == "done" and not job.tries]
    if before:
        console.print(f"done before: {len(before):,} {'run' if len(before) == 1 else 'runs'}")
        told.update(job.folder.name for job in before)
    for job in over:
        if job.folder.name not in told:
            told.add(job.folder.name)
            console.print(spelled(f"{job.state}: {job.label}{': ' + job.note if job.note else ''}"), markup=False)


def update(bars: "Progress", row: "TaskID", job: Job) -> None:
    """The bar of one running job, from the last line of its log."""
    last = job.progress()
    total = last.get("total", 1)
    note = f"step {last.get('step', 0)} of {total}"
    if "kl" in last:
        note += f"  KL {last['kl']:.1f}  MI ≥ {last.get('mi_lower', 0):.2f}"
    if last.get("step", 0) == total and last:
        note = "measuring"
    bars.update(row, total=total, completed=last.get("step", 0), note=note)
