"""Killed by SIGKILL and resumed: for every remedy the final weights and the metrics are the bits of an unbroken run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from uncollapse.study.build import remedy_names

# One process forks a child a run: torch is imported once, and a child can be killed for real.
CHILD = """
import json, os, signal, sys
from pathlib import Path
import lightning_fabric
import sklearn.linear_model
import torch
from uncollapse.study import ModelSpec, Run, Measure
from uncollapse.study import work

torch.set_num_threads(1)
ARGUMENTS = {"Beta": {"beta": 0.5}, "Anneal": {"over": 15}, "Cyclical": {"over": 20, "cycles": 2},
             "FreeBits": {"floor": 0.1}, "Capacity": {"target": 2.0, "strength": 3.0},
             "GECO": {"distortion": 20.0}, "Rescue": {"pretrain": 10, "anneal": 10},
             "Aggressive": {"window": 3, "most": 7}}
genuine = work.fit

def in_child(job):
    child = os.fork()
    if child == 0:
        try:
            job()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(3)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def attempt(run, folder, deadly):
    def die(step, total, record):
        if step == deadly:
            os.kill(os.getpid(), signal.SIGKILL)
    work.fit = lambda *a, **k: genuine(*a, **{**k, "progress": die})
    work.execute(run, folder)

def outcome(run, folder, deaths):
    for deadly in [*deaths, -1]:
        code = in_child(lambda: attempt(run, folder, deadly))
        assert code == (-signal.SIGKILL if deadly > 0 else 0), code
    result = json.loads((folder / "result.json").read_text())
    del result["seconds"], result["hash"], result["sha256"]
    return (folder / "weights.safetensors").read_bytes(), result

out, names = Path(sys.argv[1]), sys.argv[2:]
small = {"name": "mlp", "hidden": [12]}
for name in names:
    run = Run(model=ModelSpec(small, small, 3), remedies=[{name: ARGUMENTS.get(name, {})}], seed=1,
              fit={"batches": 30, "batch_size": 64, "validate_every": 8, "checkpoint_every": 5},
              measure=Measure(nll_samples=3, samples=30, images=0))
    whole, broken = outcome(run, out / name / "whole", []), outcome(run, out / name / "broken", [7, 22])
    print(json.dumps([name, whole[0] == broken[0], whole[1] == broken[1]]), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_every_remedy_resumes_to_the_same_bits(tmp_path):
    names = remedy_names()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CHILD, str(tmp_path), *names],
        capture_output=True, text=True, check=False, timeout=280, cwd=Path(__file__).parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert found == [[name, True, True] for name in names]
