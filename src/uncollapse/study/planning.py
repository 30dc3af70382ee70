"""What a study will take, from what its finished runs took: times, files, and a simulation with failures."""

import math
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median, quantiles
from typing import Any

from uncollapse.errors import BadInput
from uncollapse.store import GENERATIONS, write_text
from uncollapse.study.simulating import Outcome, Workers, best_interval, bounds, simulate

__all__ = ["Costs", "Failures", "Forecast", "Storage", "forecast", "measured", "start_seconds", "write_seconds"]

SIMULATIONS = 9  #: of each number of workers
CHECKPOINT = 4.0  #: bytes of a checkpoint over those of the weights: Adam keeps two numbers a weight, `best` one
COPIES = 3  #: checkpoints that a run has on disk at the worst: the newest, the one before, and the one being written


@dataclass(frozen=True)
class Costs:
    """What one finished run took.

    Attributes:
        arm: its method.
        fit, measure: seconds of training and of measuring.
        setup: seconds before and between, as far as the files show it.
        checkpoints: how many it wrote in training.
    """

    arm: str
    fit: float
    measure: float
    setup: float = 0.0
    checkpoints: int = 1

    @property
    def stages(self) -> list[float]:
        """Seconds between checkpoints, then those of measuring, which starts anew after a failure."""
        return [self.fit / self.checkpoints] * self.checkpoints + [self.measure]

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return self.setup + self.fit + self.measure


@dataclass(frozen=True)
class Storage:
    """What runs leave on disk.

    Attributes:
        kept: mean bytes a run by file, of finished runs.
        files: mean number of files a run.
        checkpoint: bytes of one checkpoint, as estimated from the weights.
    """

    kept: dict[str, float]
    files: float
    checkpoint: float

    @property
    def run(self) -> float:
        """Bytes a run."""
        return sum(self.kept.values())

    def peak(self, runs: int, workers: int) -> float:
        """Bytes at the worst: every run but the last ones kept, and the checkpoints of those that go on."""
        return runs * self.run + min(workers, runs) * COPIES * self.checkpoint


@dataclass(frozen=True)
class Failures:
    """How workers fail and start.

    Arguments:
        mtbf: mean hours between two failures of one worker; infinite for none.
        start: seconds until a worker can take a run.
        hand_out: seconds that the driver needs for one run.
        write: seconds that a checkpoint takes.
    """

    mtbf: float = math.inf
    start: float = 0.0
    hand_out: float = 0.0
    write: float = 0.0


@dataclass
class Forecast:
    """A number of runs on a number of workers.

    Attributes:
        runs, workers: how many.
        seconds: medians over the simulations, with failures.
        low, high: the smallest and the largest.
        undisturbed: without failures.
        bounds: between which any order of the queue ends without failures, and without start-up.
        utilisation: share of the workers' time in work that counts.
        lost: hours of work done in vain, of all workers.
        failures, given_up: mean numbers.
        interval: seconds between checkpoints at which least would be lost; infinite without failures.
        example: the first simulation, for pictures.
    """

    runs: int
    workers: int
    seconds: float
    low: float
    high: float
    undisturbed: float
    bounds: tuple[float, float]
    utilisation: float
    lost: float
    failures: float
    given_up: float
    interval: float
    example: Outcome = field(repr=False)


def measured(folder: Path, results: Sequence[Mapping[str, Any]]) -> tuple[list[Costs], Storage]:
    """Times and files of the finished runs of a study.

    Arguments:
        folder: of the study.
        results: its results.

    Raises:
        BadInput: when no result says how long it took.
    """
    costs = [cost for one in results if (cost := cost_of(folder / str(one.get("hash")), one)) is not None]
    if not costs:
        raise BadInput(f"no result in {folder} says how long it took; run at least one run of the study first")
    places = [folder / str(one.get("hash")) for one in results]
    files = [[path for path in place.rglob("*") if path.is_file()] for place in places]
    kept: dict[str, float] = {}
    for path in (path for group in files for path in group):
        name = path.name if path.parent.parent == folder else path.parent.name
        kept[name] = kept.get(name, 0.0) + path.stat().st_size / len(places)
    return costs, Storage(kept, fmean(map(len, files)), checkpoint_bytes(kept))


def checkpoint_bytes(kept: Mapping[str, float]) -> float:
    """Bytes of a checkpoint: of one that is there, or what the weights let expect."""
    return kept.get(GENERATIONS[0], 0.0) or CHECKPOINT * kept.get("weights.safetensors", 0.0)


def cost_of(place: Path, result: Mapping[str, Any]) -> Costs | None:
    """What a run took, if its result says so."""
    seconds = result.get("seconds")
    if not isinstance(seconds, Mapping) or not all(isinstance(seconds.get(key), int | float) for key in PARTS):
        return None
    fit, measure = (max(float(seconds[key]), 0.0) for key in PARTS)
    settings: Mapping[str, Any] = (result.get("run") or {}).get("fit") or {}
    history = result.get("history") or []
    every = settings.get("checkpoint_every")
    count = math.ceil(int(result.get("steps") or 0) / every) if every else len(history)
    return Costs(str(result.get("arm")), fit, measure, between(place, fit + measure), max(count, 1))


PARTS = ("fit", "measure")


def between(place: Path, known: float) -> float:
    """Seconds from `run.json` to `result.json` that are not accounted for; 0 where dates tell nothing."""
    try:
        passed = (place / "result.json").stat().st_mtime - (place / "run.json").stat().st_mtime
    except OSError:
        return 0.0
    return passed - known if known <= passed < 2 * known + 60 else 0.0  # a copy, or a run that was resumed


def start_seconds() -> float:
    """How long a worker of this machine takes until it can take a run, measured now."""
    started = time.monotonic()
    code = "import uncollapse.study.work, uncollapse.fabric, lightning_fabric, sklearn.linear_model"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, capture_output=True)
    return time.monotonic() - started


def write_seconds(size: float, folder: Path | None = None) -> float:
    """How long a file of so many bytes takes to reach this machine's disk, measured now."""
    with tempfile.TemporaryDirectory(dir=folder) as room:
        started = time.monotonic()
        write_text(Path(room) / "file", "x" * round(size))
        return time.monotonic() - started


def forecast(
    costs: Sequence[Costs], runs: int, workers: int, failures: Failures | None = None, seed: int = 0
) -> Forecast:
    """Simulate so many runs, drawn from the measured ones, on so many workers.

    Arguments:
        costs: measured.
        runs: how many; where it is a multiple of the measured ones, each is taken equally often.
        workers: how many.
        failures: how they fail.
        seed: of the draws.

    Raises:
        BadInput: when there is nothing to plan.
    """
    if runs < 1 or workers < 1 or not costs:
        raise BadInput(f"a plan needs measured runs, and at least one run and one worker, got {runs} and {workers}")
    failures = failures or Failures()
    mtbf, setup = failures.mtbf * 3600, median(one.setup for one in costs)  # a worker's first run loads libraries too
    shaky = Workers(workers, mtbf, failures.start, setup, failures.hand_out)
    steady = Workers(workers, math.inf, failures.start, setup, failures.hand_out)
    queues = [drawn(costs, runs, seed + i) for i in range(SIMULATIONS)]
    outcomes = [simulate(queue, shaky, seed + i) for i, queue in enumerate(queues)]
    seconds = sorted(one.seconds for one in outcomes)
    low, high = bounds([setup + sum(stages) for stages in queues[0]], workers)
    return Forecast(
        runs, workers, median(seconds), seconds[0], seconds[-1], simulate(queues[0], steady).seconds, (low, high),
        fmean(one.utilisation(workers) for one in outcomes), fmean(one.lost for one in outcomes) / 3600,
        fmean(one.failures for one in outcomes), fmean(one.given_up for one in outcomes),
        best_interval(failures.write, mtbf), outcomes[0],
    )  # fmt: skip


def drawn(costs: Sequence[Costs], runs: int, seed: int) -> list[list[float]]:
    """The stages of so many runs, in a random order, each of the measured ones equally often as far as that goes."""
    generator = random.Random(seed)
    whole, rest = divmod(runs, len(costs))
    queue = [*costs] * whole + generator.sample(list(costs), rest)
    generator.shuffle(queue)
    return [one.stages for one in queue]


def spread(costs: Sequence[Costs]) -> dict[str, float]:
    """Mean, median and 95th percentile of the seconds of a run, for pages."""
    seconds = [one.seconds for one in costs]
    late = quantiles(seconds, n=20, method="inclusive")[-1] if len(seconds) > 1 else seconds[0]
    return {"mean": fmean(seconds), "median": median(seconds), "late": late}
