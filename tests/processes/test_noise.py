"""Noise of several processes: that of one where it can be, and streams that agree afterwards in any case."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """What every process drew, of one process and of three: 8 rows are uneven among them."""
    out = tmp_path_factory.mktemp("noise")
    found = {}
    for size in (1, 3):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", str(Path(__file__).parent / "noises.py"), str(out), str(size)],
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        found[size] = [json.loads((out / f"{size}-{rank}.json").read_text()) for rank in range(size)]
    return found


@pytest.mark.parametrize("name", ["likelihood in evaluation", "steady, trained", "steady, evaluated"])
def test_draws_are_those_of_one_process(drawn, name):
    for one in drawn[3]:
        assert one[name] == drawn[1][0][name]


@pytest.mark.parametrize("name", ["gamma", "no rows"])
def test_streams_agree_after_draws_of_unlike_amounts(drawn, name):
    first, *others = [one[name] for one in drawn[3]]
    assert all(other == first for other in others)
    assert first["out"] != drawn[1][0][name]["out"]
