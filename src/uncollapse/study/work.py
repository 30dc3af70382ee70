"""One run from its description to its result file: build, train, measure, judge."""

import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from uncollapse.claim import Folder
from uncollapse.data import DataSet
from uncollapse.drafts import sync
from uncollapse.fit import Fit, fit
from uncollapse.objective import Objective
from uncollapse.plain import finite_only
from uncollapse.store import json_text, sealed, write_json
from uncollapse.study.build import build, load_data
from uncollapse.study.measuring import measure, watcher
from uncollapse.study.result import FORMAT, finished
from uncollapse.study.spec import Run
from uncollapse.study.tidying import taken, tidy

__all__ = ["FORMAT", "execute", "finished"]


def execute(
    run: Run,
    folder: Path,
    data_dir: str | None = None,
    progress: Any = False,
    publish: Callable[[str], bool] | None = None,
    data: DataSet | None = None,
) -> dict[str, Any]:
    """Do a run in its folder, or take its result from there; a half-done run goes on where it was.

    Arguments:
        run: what to do.
        folder: a local folder.
        data_dir: where data files are looked for.
        progress: as in `fit`.
        publish: makes the result, unless there is one; `result.json` in the folder if None.
        data: of the run, if they are loaded already.

    Returns:
        The content of `result.json`.
    """
    done, remarks = taken(folder)
    if done is not None:
        tidy(folder)  # an attempt may have been killed between its result and this
        return done
    data = data or load_data(run, data_dir)
    write_json(folder / "run.json", {"format": FORMAT, "run": run.describe(), "data": data.fingerprint})
    model, objective = build(run, data)
    settings = {key: value for key, value in run.fit.items() if key != "seed"}
    watch = watcher(data, run.measure) if run.measure.history else None
    trained = fit(model, data, objective, folder=folder, watch=watch, progress=progress, seed=run.seed, **settings)
    started = time.monotonic()
    result = describe(run, folder.name, data, objective, trained)
    result["remarks"] = [*remarks, *result["remarks"]]
    result.update(measure(run, model, data))
    result["seconds"] = {"fit": round(trained.seconds, 2), "measure": round(time.monotonic() - started, 2)}
    return leave(sealed(finite_only(result)), folder, publish)


def leave(result: dict[str, Any], folder: Path, publish: Callable[[str], bool] | None) -> dict[str, Any]:
    """Make the result, or take the one that another was faster to make, and clear up."""
    make = publish or (lambda text: Folder(folder).create("result.json", text))
    make(json_text(result))
    sync(folder)  # the result has its name on disk before the checkpoints lose theirs
    tidy(folder)
    return finished(folder) or result


def describe(run: Run, name: str, data: DataSet, objective: Objective, trained: Fit) -> dict[str, Any]:
    """The part of a result that is not measured."""
    described = run.describe()
    described["model"]["likelihood"] = run.model.likelihood or data.likelihood_setting
    ceilings = [one.ceiling(trained_batch(run)) for _, one in objective.members()]
    return {
        "format": FORMAT, "hash": name, "arm": run.arm, "arm_note": run.note, "seed": run.seed,
        "run": {**described, "data_fingerprint": data.fingerprint, "precision_used": trained.precision},
        "critic_ceiling": max((one for one in ceilings if one is not None), default=None),
        "sources": list(dict.fromkeys(source for one in cited(trained.model, objective) for source in one.sources)),
        "history": trained.history, "stopped": trained.stopped, "remarks": trained.remarks,
        "steps": trained.steps, "best_step": trained.best_step,
        "versions": {name: version(name) for name in ("uncollapse", "torch", "numpy", "lightning-fabric")},
        "device": str(next(trained.model.parameters()).device), "processes": trained.processes,
        "data_name": data.name,
        "data": {"name": data.name, "fingerprint": data.fingerprint, "sizes": [len(p) for p in data.parts.values()]},
    }  # fmt: skip


def cited(model: Any, objective: Objective) -> list[Any]:
    """Wrappers and remedies, which say how to cite them, and decoders that do."""
    parts = [part for part in model.modules() if isinstance(getattr(part, "sources", None), tuple)]
    return [*parts, *(one for _, one in objective.members())]


def trained_batch(run: Run) -> int:
    """B of a run."""
    return run.settings().batch_size
