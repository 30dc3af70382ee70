"""Engines: the same study by each gives the same bits, and what cannot be done is said in a sentence."""

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib import import_module

import pytest

from uncollapse.errors import BadInput
from uncollapse.study.engines import ENGINES, Resources, open_engine
from uncollapse.study.runner import run_study
from uncollapse.study.work import execute

EXTRAS = {"ray": "ray", "dask": "distributed", "slurm": "submitit"}
RAY = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory):
    """Digests of results, by hand, once for all engines."""
    found = {}

    def digest(job):
        name = job.folder.name
        if name not in found:
            found[name] = execute(job.run, tmp_path_factory.mktemp("hand") / name)["sha256"]
        return found[name]

    return digest


@pytest.mark.parametrize(("name", "address"), [("local", None), ("dask", None), ("slurm", "local"), ("ray", None)])
@pytest.mark.filterwarnings("default")  # of the engines' own libraries
def test_every_engine_gives_the_same_bits(tiny, tmp_path, name, address, by_hand, monkeypatch):
    if name in EXTRAS:
        pytest.importorskip(EXTRAS[name])
    for key, value in RAY.items():
        monkeypatch.setenv(key, value)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with open_engine(name, 1, address, folder=tmp_path / "slurm") as engine:
        jobs = run_study(replace(tiny, seeds=[0]), tmp_path / "study", engine)
    assert [(job.state, job.note) for job in jobs] == [("done", "")] * 2
    for job in jobs:
        assert json.loads((job.folder / "result.json").read_text())["sha256"] == by_hand(job)
    (attempt,) = [json.loads(path.read_text()) for path in jobs[0].folder.glob("attempt-*.json")]
    assert attempt["engine"] == name
    assert attempt["pid"] != os.getpid()
    assert os.environ.get("OMP_WAIT_POLICY") == "PASSIVE" or "OMP_WAIT_POLICY" not in os.environ


def test_a_library_that_is_missing_is_one_sentence():
    block = "import sys; sys.modules[{0!r}] = None; from uncollapse.study.engines import open_engine\n"
    block += "try:\n    open_engine({1!r}, 1).__enter__()\nexcept Exception as error:\n"
    block += "    print(type(error).__name__, error)"
    for engine, package in EXTRAS.items():
        said = subprocess.run(
            [sys.executable, "-c", block.format(package, engine)], capture_output=True, text=True, check=True
        ).stdout
        words = (
            f"BadInput the engine {engine} needs {package}, which is not installed: pip install 'uncollapse[{engine}]'"
        )
        assert said.strip() == words


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("cloud", {}, "there is no engine 'cloud'; there are local, ray, dask, slurm"),
        ("local", {"address": "x"}, "the engine local takes no address"),
        ("local", {"resources": Resources(gpus=1)}, "ray shares out accelerators too"),
        ("local", {"resources": Resources(minutes=5)}, "minutes and slurm_... are for the engine slurm, not for local"),
        ("slurm", {"resources": Resources(gpus=0.5), "address": "local"}, "SLURM gives out whole accelerators"),
        ("slurm", {"address": "nonsense"}, "cannot submit to nonsense"),
        ("dask", {"address": "tcp://127.0.0.1:9"}, "no Dask scheduler answers at tcp://127.0.0.1:9"),
    ],
)
@pytest.mark.filterwarnings("default")
def test_what_an_engine_cannot_do_is_one_sentence(name, options, says, tmp_path, monkeypatch):
    if name in EXTRAS:
        pytest.importorskip(EXTRAS[name])
    if name == "dask":
        monkeypatch.setattr(import_module("uncollapse.study.engines.dask"), "TIMEOUT", 1)
    with pytest.raises(BadInput, match=says), open_engine(name, 1, folder=tmp_path, **options):
        pass


@pytest.mark.parametrize(
    "text", ["cpus", "cpus=", "cpus=two", "cpus=0", "gpus=-1", "memory=big", "cores=3", "cpus=1,cpus=2"]
)
def test_resources_that_are_none(text):
    with pytest.raises(BadInput, match=r"--resources|core"):
        Resources.of(text)


def test_slurm_is_told_what_a_run_needs():
    from uncollapse.study.engines.slurm import parameters

    needs = Resources.of("cpus=4,gpus=1,memory=16GB,minutes=90,slurm_partition=long,slurm_nice=100")
    assert parameters(needs, 7) == {
        "name": "uncollapse", "cpus_per_task": 4, "timeout_min": 90, "slurm_array_parallelism": 7, "gpus_per_node": 1,
        "mem_gb": 16.0, "slurm_partition": "long", "slurm_nice": 100,
    }  # fmt: skip


@pytest.mark.skipif(importlib.util.find_spec("submitit") is None, reason="needs submitit")
def test_a_job_that_is_pre_empted_is_submitted_anew():
    from uncollapse.study.engines.slurm import Again

    again = Again(max)
    assert again(3, 4) == 4
    delayed = again.checkpoint(3, 4)
    assert (delayed.function, delayed.args) == (again, (3, 4))


def test_all_engines_are_listed():
    assert set(ENGINES) == {"local", *EXTRAS}
