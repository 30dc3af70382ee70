"""Importing the package is cheap and changes nothing."""

import json
import subprocess
import sys

import pytest

import uncollapse

EXTRAS = [
    "sklearn",
    "matplotlib",
    "rich",
    "pydantic",
    "typer",
    "lightning_fabric",
    "scipy",
    "pandas",
    "jinja2",
    "pebble",
    "zuko",
    "ray",
    "distributed",
    "submitit",
    "s3fs",
]

SCRIPT = """
import json, os, sys, threading
import torch
from torch.distributions import Distribution

def globals_of_torch():
    return [str(torch.get_default_dtype()), torch.is_grad_enabled(), torch.get_num_threads(),
            Distribution._validate_args, torch.are_deterministic_algorithms_enabled(),
            torch.get_float32_matmul_precision(),
            torch.random.get_rng_state().sum().item(), threading.active_count(), dict(os.environ)]

before, modules = globals_of_torch(), set(sys.modules)
import uncollapse
from uncollapse import *
import uncollapse.testing
added = {name.split(".")[0] for name in set(sys.modules) - modules}
print(json.dumps({"added": sorted(added), "same": before == globals_of_torch()}))
"""


@pytest.fixture(scope="module")
def report():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("extra", EXTRAS)
def test_import_brings_no_extra(report, extra):
    assert extra not in report["added"]


def test_the_bare_import_loads_nothing_heavy():
    code = f"import sys, uncollapse; print(*{{'torch', 'numpy', *{EXTRAS}}} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


@pytest.mark.parametrize(
    "first", ["", "import uncollapse.fit, uncollapse.draw, uncollapse.preflight", "uncollapse.fit"]
)
def test_a_function_is_never_hidden_by_the_module_of_its_name(first):
    code = f"import uncollapse, types\n{first}\n" + (
        "for name in uncollapse.__all__:\n"
        "    found = getattr(uncollapse, name)\n"
        "    assert isinstance(found, types.ModuleType) == (name not in uncollapse.HOMES), name\n"
        "    assert name in dir(uncollapse)\n"
        "from uncollapse.fit import fit\n"
        "assert uncollapse.fit is fit and uncollapse.plan.Settings"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_not_there_is_said():
    assert not hasattr(uncollapse, "nothing")
    with pytest.raises(AttributeError, match="module 'uncollapse' has no attribute 'fitt'"):
        _ = uncollapse.fitt


def test_import_sets_no_global(report):
    assert "uncollapse" in report["added"]
    assert report["same"]
