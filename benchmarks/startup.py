"""How long the package and its commands take to start: whole processes, from their start to their end.

Everything is held against absolute limits; `import torch`, which alone takes a second or more, is timed beside it.
`import uncollapse` loads no torch, so "every name" loads all that the package offers, in a process that has loaded
torch before and times the rest itself. The study has ten methods and a hundred seeds on scikit-learn's digits. All
its runs are finished: one is trained for a moment and the others are written as the runner writes them, with that
run's numbers. `study run` then skips all of them, which takes reading every result; the page is written once and
stays. Compiled files of Python are kept between the processes, as in an installed package; the first call of every
command is not counted.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.timing import interleaved, limit

MOST = 2  #: seconds for a command; "well under" this is the goal
MORE = 0.3  #: seconds that everything may take on top of torch
ARMS = 10
STUDY = """
name: many
data: digits
model: {{encoder: {{name: mlp, hidden: [32]}}, decoder: {{name: mlp, hidden: [32]}}, latent: 8}}
fit: {{batches: 60, batch_size: 64, validate_every: 20}}
measure: {{nll_samples: 5, samples: 200}}
seeds: {seeds}
arms:
{arms}
"""
EVERY_NAME = """
import time, torch
start = time.perf_counter()
from uncollapse import *
print(time.perf_counter() - start)
"""


def finished_study(folder, seeds, arms=ARMS):
    """Write a study all of whose runs are done; returns the number of runs."""
    from uncollapse.store import write_json, write_text
    from uncollapse.study import Study
    from uncollapse.study.build import load_data
    from uncollapse.study.config import dump_study, parse
    from uncollapse.study.work import FORMAT, execute

    lines = [f"  - {{name: beta {i / 10}, remedies: [{{Beta: {{beta: {i / 10}}}}}]}}" for i in range(1, arms + 1)]
    study = parse(Study, STUDY.format(seeds=list(range(seeds)), arms="\n".join(lines)))
    runs, data = study.runs(), load_data(study.runs()[0]).fingerprint
    with tempfile.TemporaryDirectory() as aside:
        done = execute(runs[0], Path(aside))
        log = (Path(aside) / "log.jsonl").read_text()
    names = []
    for run in runs:
        own, described = folder / run.hash(data), run.describe()
        names.append(own.name)
        write_json(own / "run.json", {"format": FORMAT, "run": described, "data": data})
        told = {**done["run"], **described, "model": done["run"]["model"]}
        result = {**done, "hash": own.name, "arm": run.arm, "seed": run.seed, "run": told}
        write_json(own / "result.json", result)
        write_text(own / "log.jsonl", log)
    write_text(folder / "study.yaml", dump_study(study))
    write_json(folder / "study.json", {**study.header(), "hashes": names})
    return len(runs)


def process(*words, cache, said=None):
    """A call that runs Python and waits for its end; the number that it prints joins `said`, where that is a list."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = cache

    def call():
        done = subprocess.run([sys.executable, *words], check=True, stdout=subprocess.PIPE, env=environment)
        if said is not None:
            said.append(float(done.stdout))

    return call


def run(quick=False):
    """Time every command in turn."""
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room) / "many"
        count = f"{finished_study(folder, seeds=4 if quick else 100):,} finished runs"
        commands = {
            "uncollapse --help": ["--help"],
            "uncollapse study --help": ["study", "--help"],
            f"uncollapse study run, {count}": ["study", "run", str(folder)],
            f"uncollapse study status, {count}": ["study", "status", str(folder)],
            f"uncollapse study table, {count}": ["study", "table", str(folder)],
            f"uncollapse study report, {count}": ["study", "report", str(folder)],
        }
        cache, added = str(Path(room) / "compiled"), []
        imports = {"torch": "import torch", "bare": "import uncollapse"}
        parties = {name: process("-c", code, cache=cache) for name, code in imports.items()}
        parties["names"] = process("-c", EVERY_NAME, cache=cache, said=added)
        parties |= {name: process("-m", "uncollapse.cli", *words, cache=cache) for name, words in commands.items()}
        times = interleaved(parties, rounds=2 if quick else 9)
        return figures(times | {"added": added[1:]}, commands)


def figures(times, commands):
    """Seconds of all parties against their limits."""
    torch = {"import torch": round(statistics.median(times["torch"]), 3)}
    found = {
        "import uncollapse": limit(times["bare"], MOST) | torch,
        "import of every name, seconds on top of import torch": limit(times["added"], MORE) | torch,
    }
    for name in commands:
        found[name] = limit(times[name], MOST) | torch
        if "report" in name:
            found[name]["goal"] = f"none (of {MOST:g} s)"
    return found
