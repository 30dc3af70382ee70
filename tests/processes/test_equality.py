"""Several processes on one batch give what one process gives, for every remedy, wrapper and kind of network."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from uncollapse.study.build import known

sys.path.insert(0, str(Path(__file__).parent))
from cases import cases

HERE = Path(__file__).parent
NAMES = list(cases())

pytestmark = [pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Every case, trained by one, two and four processes."""
    out = tmp_path_factory.mktemp("peers")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(HERE / "peers.py"), str(out), "1", "2", "4"],
        capture_output=True, text=True, check=False, timeout=590,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split("\n")[:3] == ["1 [0]", "2 [0, 0]", "4 [0, 0, 0, 0]"], done.stderr[-3000:]
    return out


def loaded(folder, name):
    found = torch.load(folder / f"{name}.pt", weights_only=True)
    assert "error" not in found, found["error"]
    return found


def test_every_remedy_and_wrapper_is_tried():
    used = {
        key for _, run in cases().values() for one in run.remedies for key in ([one] if isinstance(one, str) else one)
    }
    wrapped = {key for _, run in cases().values() for one in run.model.wrap for key in one}
    assert used == set(known("remedy"))
    assert wrapped == set(known("wrapper")) - {"AutoregressivePrior"}  # its latents are sequences


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("name", NAMES)
def test_losses_and_weights_are_those_of_one_process(trained, name, size):
    """Weights move by plain gradients, and a batch of 10 is uneven among 4: the gradients are equal too."""
    alone, several = loaded(trained / "1", name), loaded(trained / str(size), name)
    assert (alone["processes"], several["processes"]) == (1, size)
    for ours, theirs in zip(alone["history"], several["history"], strict=True):
        for part in ("train", "valid"):
            assert ours[part] == pytest.approx(theirs[part], rel=5e-6, abs=5e-6), part
    moved = 0
    for key, value in alone["states"].items():
        if isinstance(value, torch.Tensor) and value.is_floating_point() and value.numel():
            torch.testing.assert_close(several["states"][key], value, rtol=2e-5, atol=2e-6, msg=key)
            moved += 1
    assert moved > 2


def test_a_wrong_exchange_would_be_seen(trained):
    """The tolerance is far below what another batch does."""
    one, other = loaded(trained / "1", "SelfCritic")["states"], loaded(trained / "1", "Beta")["states"]
    assert (one["encoder.head.weight"] - other["encoder.head.weight"]).abs().max() > 1e-3
