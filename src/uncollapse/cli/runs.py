"""`uncollapse fit` and `uncollapse demo`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from uncollapse.cli.shared import AsJson, DataDir, Out, Overrides, Workers, console, stoppable
from uncollapse.cli.studies import run_and_report

__all__ = ["demo", "fit_command"]


def demo(overrides: Overrides = None, out: Out = None, workers: Workers = 0) -> None:
    """Train, compare and judge six methods on real digits, in about two minutes on two cores.

    Example: `uncollapse demo`, or shorter: `uncollapse demo fit.batches=200 "seeds=[0]"`
    """
    run_and_report("demo", overrides, out, workers, None, "uncollapse demo")


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


def show_result(result: dict[str, Any], folder: Path) -> None:
    """One run's numbers and verdict."""
    from rich.table import Table

    table = Table("metric", "value", "standard error", "unit", title=f"verdict: {result['verdict']['word']}")
    for name, one in result["metrics"].items():
        value, se = (("-" if one[key] is None else f"{one[key]:.3f}") for key in ("value", "se"))
        table.add_row(name, value, se, one["unit"])
    console().print(table)
    for reason in [*result["verdict"]["reasons"], *result.get("remarks", [])]:
        console().print(f"  {reason}", markup=False)
    console().print(f"folder: {folder}", soft_wrap=True)
