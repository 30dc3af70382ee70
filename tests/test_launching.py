"""`fit(devices=...)` starts processes of its own, and survives what may happen to them."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from torch import nn

import uncollapse
from uncollapse import remedies
from uncollapse.errors import BadInput, WorkFailed
from uncollapse.fit import fit
from uncollapse.launching import packed
from uncollapse.objective import Objective

X = torch.rand(103, 16, generator=torch.Generator().manual_seed(0)).round()
SETTINGS = {"batch_size": 18, "validate_every": 5, "keep": "last", "lr": 1e-2}

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs gloo and signals")


def problem():
    torch.manual_seed(0)
    model = uncollapse.VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4)
    return model, Objective([remedies.SelfCritic(memory=30, latent=4)])


def close(one, other):
    for key, value in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[key], value, rtol=2e-5, atol=2e-6)


def test_two_processes_give_what_one_gives_and_another_number_goes_on(tmp_path):
    alone, together = problem(), problem()
    one = fit(alone[0], X, alone[1], batches=20, **SETTINGS)
    halfway = threading.Event()

    def stop_halfway():
        while not (tmp_path / "checkpoint.safetensors").exists():
            time.sleep(0.01)
        halfway.set()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=stop_halfway, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        fit(*together[:1], X, together[1], batches=20, devices=2, folder=tmp_path, **SETTINGS)
    assert halfway.is_set()
    assert not (tmp_path / "weights.safetensors").exists()
    resumed = fit(together[0], X, together[1], batches=20, folder=tmp_path, **SETTINGS)  # by one process
    assert (one.processes, resumed.processes, resumed.steps) == (1, 1, 20)
    assert resumed.folder == tmp_path
    close(alone[0], together[0])
    close(alone[1], together[1])
    twice = problem()
    loaded = fit(twice[0], X, twice[1], batches=20, devices=2, folder=tmp_path, **SETTINGS)  # finished: loaded by two
    assert loaded.processes == 2
    close(alone[0], twice[0])
    assert loaded.history == resumed.history


def test_a_mistake_in_the_processes_is_the_callers(tmp_path):
    model, objective = problem()
    with pytest.raises(BadInput, match="a batch of 2 has no row for each of 3 processes"):
        fit(model, X, objective, batches=2, batch_size=2, devices=3)


def test_a_killed_process_ends_the_run_in_a_sentence(tmp_path):
    model, objective = problem()

    def kill_one():
        while not (tmp_path / "checkpoint.safetensors").exists():
            time.sleep(0.01)
        ours = subprocess.run(["pgrep", "-f", "uncollapse.launched"], capture_output=True, text=True, check=False)
        for pid in map(int, ours.stdout.split()):
            try:
                environment = Path(f"/proc/{pid}/environ").read_bytes()
            except OSError:
                continue
            if b"\0RANK=1\0" in environment and str(tmp_path.name).encode() in environment:
                os.kill(pid, signal.SIGKILL)

    os.environ["UNCOLLAPSE_TEST_MARK"] = tmp_path.name
    try:
        threading.Thread(target=kill_one, daemon=True).start()
        with pytest.raises(WorkFailed, match="run again to resume"):
            fit(model, X, objective, batches=100_000, devices=2, folder=tmp_path, **SETTINGS)
    finally:
        del os.environ["UNCOLLAPSE_TEST_MARK"]
    assert (tmp_path / "checkpoint.safetensors").exists()


def test_what_cannot_travel_is_refused():
    with pytest.raises(BadInput, match="devices=2 sends the model, the objective and watch to other processes, and"):
        packed("devices=2", "start the script with torchrun", lambda: None)


SCRIPT = """
import sys
import torch
from torch import nn
import uncollapse
from uncollapse import metrics

torch.manual_seed(0)
x = torch.rand(103, 16, generator=torch.Generator().manual_seed(0)).round()
model = uncollapse.VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4)
torch.manual_seed(int(sys.argv[2]) * int(__import__("os").environ.get("RANK", 0)))  # processes may start unlike
if sys.argv[2] == "7":
    model = uncollapse.VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4)


def watch(model):  # defined in the running script: torchrun needs nothing sent
    codes = uncollapse.Codes.of(model, x)
    found = metrics.mutual_information(codes)
    return {"lower": found.lower.value, "upper": found.upper.value, "nll": metrics.nll(model, x, samples=8).value,
            "active": metrics.active_units(codes).value}


done = uncollapse.fit(model, x, batches=10, batch_size=18, validate_every=5, lr=1e-2, keep="last", watch=watch)
with uncollapse.across(model) as team:
    after = watch(model)
if team.first:
    torch.save({"history": done.history, "after": after, "processes": [done.processes, team.size],
                "weights": dict(model.state_dict())}, sys.argv[1])
"""


def run(command, tmp_path, name, *more):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, *command, str(script), str(tmp_path / name), *more],
        capture_output=True, text=True, check=False, timeout=200, env=quiet,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return torch.load(tmp_path / name, weights_only=True)


def test_torchrun_shares_training_and_every_metric(tmp_path):
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    alone, several = run([], tmp_path, "alone", "0"), run(torchrun, tmp_path, "several", "0")
    assert (alone["processes"], several["processes"]) == ([1, 1], [2, 2])
    for ours, theirs in zip(alone["history"], several["history"], strict=True):
        for name in ("lower", "upper", "nll", "active"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-5, abs=1e-5)
    assert alone["after"] == pytest.approx(several["after"], rel=1e-5, abs=1e-5)
    unlike = run(torchrun, tmp_path, "unlike", "7")  # the first process's weights are everybody's
    assert unlike["processes"] == [2, 2]
