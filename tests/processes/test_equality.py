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
        [sys.executable, "-W", "ignore", str(HERE / "peers.py"), str(out), "1", "2", "4", "2-fsdp", "4-fsdp"],
        capture_output=True, text=True, check=False, timeout=590,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    good = ["1 [0]", "2 [0, 0]", "4 [0, 0, 0, 0]", "2-fsdp [0, 0]", "4-fsdp [0, 0, 0, 0]"]
    assert done.stdout.split("\n")[:5] == good, done.stderr[-3000:]
    return out


APART = {
    "Rescue": "a decoder whose weights are shared out cannot be reset",
    "SemiAmortised": "or needs gradients of gradients",
}  #: what cannot be done with weights in pieces, and says so


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


@pytest.mark.parametrize("how", ["2", "4", "2-fsdp", "4-fsdp"])
@pytest.mark.parametrize("name", NAMES)
def test_losses_and_weights_are_those_of_one_process(trained, name, how):
    """Weights move by plain gradients, and a batch of 10 is uneven among 4: the gradients are equal too."""
    if "fsdp" in how and name in APART:
        error = torch.load(trained / how / f"{name}.pt", weights_only=True)["error"]
        assert "errors.Unsupported" in error
        assert APART[name] in error
        return
    alone, several = loaded(trained / "1", name), loaded(trained / how, name)
    assert (alone["processes"], several["processes"]) == (1, int(how[0]))
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
