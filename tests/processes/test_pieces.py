"""Weights in pieces: what each process holds, checkpoints that anybody resumes, and what is refused."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from uncollapse.errors import BadInput, Unsupported
from uncollapse.fit import fit
from uncollapse.processes import shards

sys.path.insert(0, str(Path(__file__).parent))
from pieces import SETTINGS, X, made


def run(out, how):
    """One run by two processes."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*start, str(Path(__file__).parent / "pieces.py"), str(out), how],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(out / f"{how}.pt", weights_only=True)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    return run(tmp_path_factory.mktemp("straight"), "straight")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    model, objective = made()
    torch.set_num_threads(1)
    return fit(model, X, objective, folder=tmp_path_factory.mktemp("alone"), **SETTINGS)


def close(state, other):
    for name, value in state.items():
        if value.is_floating_point():
            torch.testing.assert_close(other[name], value, rtol=1e-4, atol=2e-6, msg=name)


def test_the_numbers_are_those_of_one_process(straight, alone):
    close(alone.model.state_dict(), straight["state"])
    close(alone.best, straight["best"])
    assert straight["same"]
    assert not straight["held"]["given"]


def test_each_process_holds_a_piece(straight):
    whole = sum(p.numel() for p in made()[0].parameters())
    assert straight["held"]["numbers"] <= whole / 2 + 40  # rows are not cut


def test_metrics_in_watch_are_those_of_one_process(straight, alone):
    from uncollapse.metrics import nll

    assert straight["watched"][-1] == pytest.approx(float(nll(alone.model, X[:20], samples=4)), abs=0.5)
    assert len(straight["watched"]) == 2


@pytest.mark.parametrize("by", ["two", "one"])
def test_a_run_that_was_stopped_goes_on_with_any_number_of_processes(tmp_path, straight, by):
    stopped = run(tmp_path, "stopped")
    assert "stopped after 4 of 8 batches" in stopped["stopped"]
    assert all(type(value) is torch.Tensor for value in stopped["state"].values())
    assert any(not torch.equal(value, made()[0].state_dict()[name]) for name, value in stopped["state"].items())
    if by == "two":
        resumed = run(tmp_path, "resumed")["state"]
        assert all(torch.equal(value, straight["state"][name]) for name, value in resumed.items())
    else:
        model, objective = made()
        close(straight["state"], fit(model, X, objective, folder=tmp_path / "run", **SETTINGS).model.state_dict())


def test_blocks_are_units_and_inner_ones_come_first(monkeypatch):
    monkeypatch.setattr(shards, "LARGE", 100)
    net = nn.Sequential(nn.Linear(10, 10), nn.ReLU(), nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 2)))
    assert shards.units([net]) == [net[0], net[2][0], net[2], net]
    assert shards.units([nn.Flatten()]) == []


def test_a_network_that_is_passed_again_names_its_parts():
    net = nn.Module()
    net.blocks, net.own, net.later = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)]), nn.Linear(2, 2), ("blocks",)
    assert set(shards.units([net])) == set(net.blocks)


def test_a_weight_in_two_networks_is_refused():
    one, two = nn.Linear(4, 4), nn.Linear(4, 4)
    two.weight = one.weight
    with pytest.raises(Unsupported, match=r"have the weight weight in common.* use strategy='ddp'"):
        shards.refuse_ties([one, two])
    shards.refuse_ties([one, nn.Sequential(one, nn.ReLU())])


def test_another_strategy_is_refused():
    with pytest.raises(BadInput, match="strategy should be one of ddp, fsdp"):
        fit(made()[0], X, batches=1, strategy="deepspeed")


def test_alone_nothing_is_in_pieces():
    model, objective = made()
    done = fit(model, X, objective, strategy="fsdp", **SETTINGS)
    assert not any(map(shards.in_pieces, done.model.parameters()))
