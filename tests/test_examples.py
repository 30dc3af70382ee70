"""Every example runs, is short, and shows what it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_example(path):
    assert len(path.read_text().splitlines()) < 90
    command, environment = [sys.executable, "-W", "error", str(path)], {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    lower = [float(value) for value in re.findall(r"information between (\d+\.\d+)", done.stdout)]
    assert lower
    if path.stem.startswith("own_loop"):  # without and with the remedy
        assert lower[1] > lower[0] + 1.0


@pytest.mark.parametrize("name", ["own_loop_stateless", "own_loop_critic"])
def test_a_remedy_is_three_lines(name):
    text = (EXAMPLES / f"{name}.py").read_text()
    assert re.findall(r"# (\d):", text) == ["1", "2", "3"]
