"""A study of 500 short runs in one driver with two workers: nothing grows, and every run is accounted for.

About twice a second the driver reads, from /proc, the memory, open files, threads and children of itself and of its
workers. After the first fifth of the runs, in which caches fill, a line is fitted to each against the number of runs
that are done. Memory may grow by the smallest amount that a study of 10,000 runs would not feel: 20 kB a run (200 MB)
in the driver, which keeps a description of every run, and in a worker, whose allocator wanders; files, threads and
children may not grow at all.
"""

import json
import os
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path

import numpy as np

from uncollapse.study import Study
from uncollapse.study.config import parse
from uncollapse.study.engines import local_engine
from uncollapse.study.runner import run_study

RUNS, QUICK, WORKERS = 500, 40, 2
MEMORY = 20.0  #: kB a run that the memory of a process may grow
STUDY = """
name: many
data: digits
model: {{encoder: {{name: mlp, hidden: [16]}}, decoder: {{name: mlp, hidden: [16]}}, latent: 3}}
fit: {{batches: 20, batch_size: 64, validate_every: 10}}
measure: {{nll_samples: 2, nll_examples: 40, samples: 40, images: 2}}
seeds: {seeds}
arms: {arms}
"""


def made(count):
    """A study of so many runs: ten methods, as many seeds as it takes."""
    arms = [{"name": f"beta {i / 10}", "remedies": [{"Beta": {"beta": i / 10}}]} for i in range(1, 11)]
    return parse(Study, STUDY.format(seeds=list(range(count // 10)), arms=json.dumps(arms)))


def sample(pid):
    """Memory in kB, open files, threads and children of a process."""
    place = Path("/proc") / str(pid)
    pages = int((place / "statm").read_text().split()[1])
    tasks = list((place / "task").iterdir())
    children = sum(len((task / "children").read_text().split()) for task in tasks)
    return {
        "memory": pages * os.sysconf("SC_PAGE_SIZE") / 1024, "files": len(list((place / "fd").iterdir())),
        "threads": len(tasks), "children": children,
    }  # fmt: skip


def role(pid):
    """What a process is there for, from its command."""
    words = (Path("/proc") / str(pid) / "cmdline").read_text()
    return "driver" if pid == os.getpid() else "tracker" if "resource_tracker" in words else "worker"


def named(role, place):
    """What a process is called in the figures; the tracker is multiprocessing's own."""
    return f"{role} {place}" if role == "worker" else role


def children(pid):
    """Numbers of the processes that a process started."""
    found = []
    for task in (Path("/proc") / str(pid) / "task").iterdir():
        with suppress(OSError):
            found += [int(one) for one in (task / "children").read_text().split()]
    return found


class Watch:
    """Takes samples while a study runs."""

    def __init__(self, quick):
        self.taken, self.roles, self.last, self.quick = defaultdict(list), {}, 0.0, quick

    def __call__(self, jobs):
        """About twice a second."""
        if time.monotonic() - self.last < 0.5:
            return
        self.last = time.monotonic()
        done = sum(job.state == "done" for job in jobs)
        for pid in [os.getpid(), *children(os.getpid())]:
            with suppress(OSError):
                self.roles.setdefault(pid, role(pid))
                self.taken[pid].append((done, sample(pid)))
        if done % (10 if self.quick else 50) == 0:
            print(f"{done} of {len(jobs)} done", flush=True)


def grown(taken, total):
    """Slope a run, smallest and largest value of each number of a process, after the first fifth of the runs."""
    late = [(done, one) for done, one in taken if done >= total / 5]
    out = {}
    for name in ("memory", "files", "threads", "children"):
        x, y = np.array([done for done, _ in late], float), np.array([one[name] for _, one in late], float)
        slope = float(np.polyfit(x, y, 1)[0]) if len(set(x)) > 2 else 0.0
        out[name] = {"first": y[0], "last": y[-1], "smallest": y.min(), "largest": y.max(), "a run": round(slope, 4)}
    return out


def run(quick: bool) -> dict:
    """Do the study; raise AssertionError when something grows or a run is missing."""
    total = QUICK if quick else RUNS
    study, watch, started = made(total), Watch(quick), time.monotonic()
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room) / "many"
        with local_engine(WORKERS) as engine:
            jobs = run_study(study, folder, engine, watch=watch)
        seconds = time.monotonic() - started
        accounted(jobs, folder, total)
        again = []
        with local_engine(WORKERS) as engine:
            run_study(study, folder, engine, watch=lambda jobs: again.append(Counter(job.tries for job in jobs)))
        assert all(one == Counter({0: total}) for one in again), f"a finished study was run again: {again}"
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    lived = {pid: taken for pid, taken in watch.taken.items() if len({done for done, _ in taken}) > total / 4}
    assert len(lived) >= 1 + WORKERS, f"expected the driver and {WORKERS} workers to live all along, got {len(lived)}"
    names = {pid: named(watch.roles[pid], i) for i, pid in enumerate(lived)}
    figures = {names[pid]: grown(taken, total) for pid, taken in lived.items()}
    told = {
        "runs": total, "done": sum(job.state == "done" for job in jobs), "seconds": round(seconds, 1),
        "bytes a run": size // total, "processes": figures,
        "summary": f"{total} runs by one driver and {WORKERS} workers; largest growth "
        f"{max(one['memory']['a run'] for one in figures.values()):.1f} kB a run, no files, threads or processes",
    }  # fmt: skip
    print(json.dumps(told, indent=1), flush=True)
    bounded(figures, total)
    return told


def accounted(jobs, folder, total):
    """Every run is done once, its result is there and is its own, and nothing else lies in the folder."""
    states = Counter(job.state for job in jobs)
    assert states == Counter({"done": total}), f"expected {total} runs done, got {dict(states)}"
    results = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/result.json")}
    assert set(results) == {job.folder.name for job in jobs}
    for job in jobs:
        found = results[job.folder.name]
        assert (found["arm"], found["seed"], found["hash"]) == (job.run.arm, job.run.seed, job.folder.name)
    left = [path for path in folder.rglob("*") if path.name.endswith(".part") or path.name.startswith("checkpoint")]
    assert not left, f"left over: {left[:5]}"


def bounded(figures, total):
    """Nothing grows; in a quick run, too short for a line through memory, files, threads and children alone."""
    for who, found in figures.items():
        for name in ("files", "threads", "children"):
            growth = found[name]["a run"] * total
            assert growth < 2, f"{name} of the {who} grow by {growth:.1f} in {total} runs"
        if total >= RUNS:
            growth = found["memory"]["a run"]
            assert growth < MEMORY, f"the memory of the {who} grows by {growth:.1f} kB a run"
