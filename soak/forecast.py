"""A plan and a study that was then run: predicted against measured time.

Eight runs of a study are done and measured. From them the time of 24 runs of the same settings with other seeds, on
the same two workers, is worked out, without failures and with workers that are killed again and again. Then they are
run, and the clock is looked at. A machine that others use too is not as fast later as it was before, so the time is
worked out once more from the costs of the very runs, which holds the queue, the start-up and the failures to account.
"""

import os
import random
import signal
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from soak.runs import children, role
from uncollapse.report import load_results
from uncollapse.study import Study
from uncollapse.study.config import parse
from uncollapse.study.engines import local_engine
from uncollapse.study.planning import Failures, forecast, measured, start_seconds
from uncollapse.study.runner import plan, run_study

WORKERS, HOW_FAR = 2, 0.25  #: and the share by which a prediction from the costs of the very runs may be wrong
MTBF = 40.0  #: seconds between two kills of one worker
STUDY = """
name: forecast
data: digits
model: {encoder: {name: mlp, hidden: [128]}, decoder: {name: mlp, hidden: [128]}, latent: 8}
fit: {batches: 1500, batch_size: 128, validate_every: 250, checkpoint_every: 50}
measure: {nll_samples: 20, samples: 200, images: 2}
seeds: [0, 1]
arms:
  - name: plain
  - name: beta
    remedies: [{Beta: {beta: 0.5}}]
  - name: critic
    remedies: [{SelfCritic: {weight: 2.0}}]
  - name: bits
    remedies: [{FreeBits: {floor: 0.1}}]
"""


def timed(study, folder, mtbf=None):
    """Seconds that a study takes after it was planned, and how many workers were killed."""
    over, kills, jobs = threading.Event(), [], plan(study, folder)
    killer = threading.Thread(target=strike, args=(over, mtbf, kills))
    started = time.monotonic()
    with local_engine(WORKERS) as engine:
        if mtbf:
            killer.start()
        run_study(study, folder, engine, jobs=jobs)
        over.set()
        if mtbf:
            killer.join()
    assert all(job.state == "done" for job in jobs), sorted({job.note for job in jobs if job.state != "done"})
    return time.monotonic() - started, len(kills)


def strike(over, mtbf, kills):
    """Kill a worker after exponential times until all is over; with W workers, W times as often."""
    chance = random.Random(1)
    while not over.wait(chance.expovariate(WORKERS / mtbf)):
        workers = []
        for pid in children(os.getpid()):
            with suppress(OSError):
                workers += [pid] if role(pid) == "worker" else []
        if workers:
            with suppress(ProcessLookupError):
                os.kill(chance.choice(workers), signal.SIGKILL)
                kills.append(time.monotonic())


def told(planned, seconds):
    """A prediction and what the clock said."""
    return {
        "predicted, s": round(planned.seconds, 1), "from": round(planned.low, 1), "to": round(planned.high, 1),
        "measured over predicted": round(seconds / planned.seconds, 3),
    }  # fmt: skip


def run(quick: bool) -> dict:
    """Predict, run, compare."""
    study = parse(Study, STUDY)
    more = replace(study, name="more", seeds=list(range(10, 11 if quick else 16)))
    count, found = len(more.runs()), {}
    with tempfile.TemporaryDirectory() as room:
        timed(study, Path(room) / "first")
        costs, storage = costs_of(Path(room) / "first")
        for name, mtbf in (("undisturbed", None), ("with kills", MTBF)):
            before = start_seconds()
            seconds, kills = timed(more, Path(room) / name, mtbf)
            start = (before + start_seconds()) / 2
            failures = Failures((mtbf or 1e12) / 3600, start)
            own, kept = costs_of(Path(room) / name)
            found[name] = {
                "measured, s": round(seconds, 1), "kills": kills, "start, s": round(start, 1),
                "from other runs": told(forecast(costs, count, WORKERS, failures), seconds),
                "from these runs": told(forecast(own, count, WORKERS, failures), seconds),
                "bytes over predicted": round(kept.run / storage.run, 3),
            }  # fmt: skip
            print(name, found[name], flush=True)
    ratios = [one["from these runs"]["measured over predicted"] for one in found.values()]
    assert quick or all(1 - HOW_FAR < ratio < 1 + HOW_FAR for ratio in ratios), f"predictions are off: {found}"
    one, other = found.values()
    summary = (
        f"{count} runs on {WORKERS} workers: measured over predicted time {ratios[0]:.2f}; with {other['kills']} kills "
        f"{ratios[1]:.2f}; from the costs of {len(costs)} runs before, on a machine that others use too, "
        f"{one['from other runs']['measured over predicted']:.2f} and "
        f"{other['from other runs']['measured over predicted']:.2f}; bytes {one['bytes over predicted']:.2f}"
    )
    return {"by kind": found, "summary": summary}


def costs_of(folder):
    """Costs and storage of a study that was run."""
    return measured(folder, load_results(folder)[1])
