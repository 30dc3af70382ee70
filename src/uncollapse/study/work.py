"""One run from its description to its result file: build, train, measure, judge."""

import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from uncollapse.codes import Codes
from uncollapse.data import DataSet
from uncollapse.errors import WorkFailed
from uncollapse.fit import Fit, fit
from uncollapse.metrics import (
    active_units,
    density_coverage,
    kl,
    linear_probe,
    mutual_information,
    nll,
    noise_gap,
    shuffle_gap,
)  # fmt: skip
from uncollapse.objective import Objective
from uncollapse.plain import finite_only
from uncollapse.plan import derive
from uncollapse.store import read_json, write_json
from uncollapse.study.build import build, load_data
from uncollapse.study.pictures import pictures, prior_samples
from uncollapse.study.spec import Run
from uncollapse.verdict import verdict

__all__ = ["FORMAT", "execute", "finished"]

FORMAT = 1  #: of result.json


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
    watch = watcher(data) if run.measure.history else None
    trained = fit(model, data, objective, folder=folder, watch=watch, progress=progress, seed=run.seed, **settings)
    started = time.monotonic()
    result = describe(run, folder.name, data, objective, trained)
    result.update(measure(run, model, data))
    result["seconds"] = {"fit": round(trained.seconds, 2), "measure": round(time.monotonic() - started, 2)}
    write_json(folder / "result.json", finite_only(result))
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    (folder / "failed.json").unlink(missing_ok=True)
    return read_json(folder / "result.json")  # type: ignore[no-any-return]


def finished(folder: Path) -> dict[str, Any] | None:
    """The result in a folder, or None when there is none yet."""
    path = folder / "result.json"
    if not path.exists():
        return None
    result = read_json(path)
    if not isinstance(result, dict) or result.get("format") != FORMAT:
        raise WorkFailed(f"{path} is not a result of this version; move it away and run again")
    return result


def watcher(data: DataSet) -> Callable[[Any], dict[str, float]]:
    """What is measured at every validation: the bracket, KL and active units of the validation part."""

    def watch(model: Any) -> dict[str, float]:
        codes = Codes.of(model, data.valid)
        bracket = mutual_information(codes)
        return {
            "mi_lower": float(bracket.lower), "mi_upper": float(bracket.upper),
            "kl": float(kl(codes)), "active_units": float(active_units(codes)),
        }  # fmt: skip

    return watch


def measure(run: Run, model: Any, data: DataSet) -> dict[str, Any]:
    """All metrics of a trained model on the test part, its verdict, spectrum and pictures."""
    model.eval()
    seed = derive(run.seed, "measure")
    codes, train_codes = Codes.of(model, data.test, seed=seed), Codes.of(model, data.train, seed=seed)
    bracket, units, divergence = mutual_information(codes), active_units(codes), kl(codes)
    gap = shuffle_gap(model, data.test, seed=seed)
    generated = prior_samples(model, run.measure.samples or len(data.test), seed)
    likeness = density_coverage(data.test.tensor(), generated, k=run.measure.k)
    metrics = {
        "nll": nll(model, data.test, samples=run.measure.nll_samples, seed=seed),
        "kl": divergence, "kl_information": divergence.information, "kl_mismatch": divergence.mismatch,
        "mi_lower": bracket.lower, "mi_upper": bracket.upper, "active_units": units,
        **likeness._asdict(), "shuffle_gap": gap,
    }  # fmt: skip
    if codes.labels is not None:
        metrics["probe"] = linear_probe(train_codes, codes)
    judged = verdict(divergence, bracket, units, gap)
    return {
        "metrics": {name: value.to_dict() for name, value in metrics.items()},
        "mi": {"ceiling": bracket.ceiling, "saturated": bool(bracket.saturated)},
        "verdict": {"word": judged.word, "reasons": judged.reasons},
        "spectrum": units.spectrum.tolist(),
        "reference": reference(data, run.measure.k),
        "noise": [{"variance": s2, **noise_gap(model, data.test, s2, seed=seed).to_dict()} for s2 in run.measure.noise],
        "images": pictures(model, data, generated, run.measure.images, seed),
    }


def reference(data: DataSet, k: int) -> dict[str, float]:
    """Density and coverage of real training examples against the test part: what perfect samples would score."""
    count = min(len(data.train), len(data.test))
    found = density_coverage(data.test.tensor()[:count], next(iter(data.train.batches(count)))[0], k=k)
    return {"density": float(found.density), "coverage": float(found.coverage)}


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
        "history": trained.history, "stopped": trained.stopped,
        "steps": trained.steps, "best_step": trained.best_step,
        "versions": {name: version(name) for name in ("uncollapse", "torch", "numpy", "lightning-fabric")},
        "device": str(next(trained.model.parameters()).device),
    }  # fmt: skip


def cited(model: Any, objective: Objective) -> list[Any]:
    """Wrappers and remedies, which say how to cite them, and decoders that do."""
    parts = [part for part in model.modules() if isinstance(getattr(part, "sources", None), tuple)]
    return [*parts, *(one for _, one in objective.members())]


def trained_batch(run: Run) -> int:
    """B of a run."""
    return run.settings().batch_size
