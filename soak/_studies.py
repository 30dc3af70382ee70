"""What the experiments on studies share: a study of short runs, its undisturbed results, the audit of others."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from uncollapse.storage import Disk, Place, at

TEXT = """
name: soak
data: digits
model: {{encoder: {{name: mlp, hidden: [128]}}, decoder: {{name: mlp, hidden: [128]}}, latent: 8}}
fit: {{batches: {batches}, batch_size: 128, validate_every: 100, checkpoint_every: 25}}
measure: {{nll_samples: 10, samples: 100, images: 3}}
seeds: {seeds}
arms:
  - name: plain
  - name: beta
    remedies: [Beta: {{beta: 0.5}}]
  - name: critic
    remedies: [SelfCritic: {{weight: 2.0}}]
"""
BATCHES = 600
KNOWN: dict[int, dict[str, tuple[str, str]]] = {}  #: fingerprints of undisturbed studies by their number of runs
QUIET = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def study_file(folder: Path, quick: bool) -> tuple[Path, int]:
    """A study of 24 runs, or of 6, and how many there are."""
    seeds = list(range(2 if quick else 8))
    path = folder / "study.yaml"
    path.write_text(TEXT.format(batches=BATCHES, seeds=seeds), encoding="utf-8")
    return path, 3 * len(seeds)


def start(*words: Any, log: Path, **environment: str) -> subprocess.Popen[bytes]:
    """Start `uncollapse` with these words as a process of its own; what it says goes to a file."""
    command = [sys.executable, "-m", "uncollapse.cli", *map(str, words)]
    with log.open("ab") as out:
        return subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **QUIET, **environment},
            start_new_session=True,
        )  # fmt: skip


def undisturbed(folder: Path, study: Path, runs: int) -> dict[str, tuple[str, str]]:
    """The fingerprints of all runs by the local engine, with nobody in its way; once for all experiments."""
    if runs in KNOWN:
        return KNOWN[runs]
    began = time.monotonic()
    process = start("study", "run", study, "--out", folder / "undisturbed", "--workers", 2, log=folder / "quiet.log")
    assert process.wait() == 0, (folder / "quiet.log").read_text()[-2000:]
    found = fingerprints(at(folder / "undisturbed"))
    assert len(found) == runs
    print(f"undisturbed: {runs} runs in {time.monotonic() - began:.0f} s", flush=True)
    KNOWN[runs] = found
    return found


def finished_runs(place: Place) -> list[str]:
    """Names of the runs that have a result."""
    return [name for name in names(place) if place.holds(name, "result.json")]


def names(place: Place) -> list[str]:
    """Names of all runs of a study that was started."""
    with suppress(OSError, ValueError):
        place.refresh()
        return list(json.loads((place.folder / "study.json").read_text(encoding="utf-8"))["hashes"])
    return []


def fingerprints(place: Place) -> dict[str, tuple[str, str]]:
    """SHA-256 of the weights and of the result without times, of every run with a result."""
    found = {}
    for name in finished_runs(place):
        weights = hashlib.sha256(file_of(place, name, "weights.safetensors")).hexdigest()
        result = json.loads(place.result(name).read_text(encoding="utf-8"))
        found[name] = (weights, result["sha256"])
    return found


def file_of(place: Place, run: str, name: str) -> bytes:
    """The bytes of a file of a run, wherever it lies."""
    if isinstance(place, Disk):
        return (place.folder / run / name).read_bytes()
    bucket = place.bucket  # type: ignore[attr-defined]
    return bytes(bucket.fs.cat_file(bucket.path(f"{run}/{name}")))


def trained(place: Place) -> int:
    """Batches of all runs, as their checkpoints and results say."""
    total = 0
    for name in names(place):
        with suppress(OSError, ValueError):
            state = json.loads((place.folder / name / "state.json").read_text(encoding="utf-8"))
            total += state["step"] + (1 if (place.folder / name / "result.json").exists() else 0)
    return total


def advance(place: Place, batches: int, over: Callable[[], bool], patience: float = 900.0) -> None:
    """Wait until the study is so many batches further, or over: on a busy machine a time would say little.

    Raises:
        AssertionError: when it stands still.
    """
    goal, end = trained(place) + batches, time.monotonic() + patience
    while not over() and trained(place) < goal:
        assert time.monotonic() < end, f"the study stands still at {trained(place)} batches"
        time.sleep(0.3)


def attempts_of(place: Place) -> dict[str, list[dict[str, Any]]]:
    """The attempts at every run."""
    from uncollapse.study.attempts import attempts

    place.refresh()
    return {name: attempts(place.folder / name) for name in names(place)}


def audit(place: Place, expected: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """Every run has one result, made once, with the bits of the undisturbed study.

    Raises:
        AssertionError: when that is not so.
    """
    found = fingerprints(place)
    assert found.keys() == expected.keys(), f"{len(found)} of {len(expected)} runs have a result"
    other = [name for name in found if found[name] != expected[name]]
    assert not other, f"runs with other bits than the undisturbed ones: {other}"
    tried = attempts_of(place)
    outcomes = [one["outcome"] or "killed" for several in tried.values() for one in several]
    for name, several in tried.items():
        made = [one for one in several if one["outcome"] == "published"]
        open_ = [one for one in several if not one["outcome"]]
        assert len(made) == 1 or (not made and open_), f"run {name} was published {len(made)} times"
    return {
        "runs": len(found), "results": len(found), "bit-identical": len(found) - len(other),
        "published twice": sum(sum(one["outcome"] == "published" for one in several) > 1 for several in tried.values()),
        "attempts": len(outcomes), "outcomes": {word: outcomes.count(word) for word in sorted(set(outcomes))},
        "resumed in mid-run": sum(one["start"] > 0 for several in tried.values() for one in several),
        "runs of several attempts": sum(len(several) > 1 for several in tried.values()),
    }  # fmt: skip


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to a process and whatever it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def pause(chance: random.Random, least: float, most: float) -> None:
    """Wait for a random time."""
    time.sleep(chance.uniform(least, most))
