"""One run from its description to its result file: build, train, measure, judge."""

import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from uncollapse.data import DataSet
from uncollapse.fit import Fit, fit
from uncollapse.objective import Objective
from uncollapse.plain import finite_only
from uncollapse.store import read_json, write_json
from uncollapse.study.build import build, load_data
from uncollapse.study.measuring import measure, watcher
from uncollapse.study.result import FORMAT, finished
from uncollapse.study.spec import Run

__all__ = ["FORMAT", "execute", "finished"]


def execute(run: Run, folder: Path, data_dir: str | None = None, progress: Any = False) -> dict[str, Any]:
    """Do a run in its folder, or take its result from there; a half-done run goes on where it was.

    Returns:
        The content of `result.json`.
    """
    done = finished(folder)
    if done is not None:
        return done
    data = load_data(run, data_dir)
    write_json(folder / "run.json", {"format": FORMAT, "run": run.describe(), "data": data.fingerprint})
    model, objective = build(run, data)
    settings = {key: value for key, value in run.fit.items() if key != "seed"}
    watch = watcher(data, run.measure) if run.measure.history else None
    trained = fit(model, data, objective, folder=folder, watch=watch, progress=progress, seed=run.seed, **settings)
    started = time.monotonic()
    result = describe(run, folder.name, data, objective, trained)
    result.update(measure(run, model, data))
    result["seconds"] = {"fit": round(trained.seconds, 2), "measure": round(time.monotonic() - started, 2)}
    write_json(folder / "result.json", finite_only(result))
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    (folder / "failed.json").unlink(missing_ok=True)
    return read_json(folder / "result.json")  # type: ignore[no-any-return]


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
        "device": str(next(trained.model.parameters()).device),
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
