"""The command line: demo, diagnose, fit, study, protocols, data; exit 2 is bad usage, 1 failed work."""

import sys
from typing import Annotated

import typer

import uncollapse
from uncollapse.cli.datasets import data_app
from uncollapse.cli.diagnosing import diagnose_command
from uncollapse.cli.protocols import protocols_app
from uncollapse.cli.runs import demo, fit_command
from uncollapse.cli.shared import HELP
from uncollapse.cli.studies import study_app
from uncollapse.errors import UncollapseError

__all__ = ["app", "main"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown", **HELP)  # type: ignore[arg-type]
app.command()(demo)
app.command("diagnose")(diagnose_command)
app.command("fit")(fit_command)
app.add_typer(study_app, name="study")
app.add_typer(protocols_app, name="protocols")
app.add_typer(data_app, name="data")


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
