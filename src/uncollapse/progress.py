"""A progress bar for one run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["shown"]

Report = Callable[[int, int, dict[str, Any]], None]


@contextmanager
def shown(progress: bool | Report, total: int, what: str = "training") -> Iterator[Report]:
    """A function to report (step, total, last record) to: a rich bar, the caller's own, or nothing.

    A record may hold "valid", whose score is shown, or "doing", a word for the present piece of work.
    """
    if callable(progress):
        yield progress
    elif not progress:
        yield lambda step, total, record: None
    else:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns) as bar:
            task = bar.add_task(what, total=total)

            def report(step: int, total: int, record: dict[str, Any]) -> None:
                score = record.get("valid", {}).get("score")
                note = record.get("doing", what) if score is None else f"{what}, validation {score:.2f} nats"
                bar.update(task, completed=step, description=note)

            yield report
