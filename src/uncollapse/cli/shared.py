"""What the commands share: their options, the screen, and Ctrl-C as one sentence."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from uncollapse.errors import Interrupted

__all__ = [
    "HELP",
    "AsJson",
    "DataDir",
    "Out",
    "Overrides",
    "Page",
    "StudyPath",
    "Workers",
    "console",
    "cores",
    "stoppable",
]

HELP = {"context_settings": {"help_option_names": ["-h", "--help"]}, "no_args_is_help": True}

Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of the study; runs/NAME if not given.")]
Workers = Annotated[int, typer.Option("--workers", min=0, help="Processes; 0 is one a core.")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Where data files lie.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Page = Annotated[Path | None, typer.Option("--page", help="File to write; report.html in the study's folder.")]
StudyPath = Annotated[
    str, typer.Argument(help="A study.yaml, a folder that holds one, `demo`, or a name of `protocols list`.")
]


@contextmanager
def stoppable(left: str = "what is done is kept, run the same command to go on") -> Iterator[None]:
    """Turn Ctrl-C into one sentence, which says what it leaves behind."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise Interrupted(str(interrupt) or f"stopped; {left}") from None


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def console() -> Any:
    """Where people read; a file is as wide as the table."""
    from rich.console import Console

    screen = Console(markup=False, emoji=False)  # names of strangers may hold brackets
    return screen if screen.is_terminal else Console(width=max(screen.width, 120), markup=False, emoji=False)
