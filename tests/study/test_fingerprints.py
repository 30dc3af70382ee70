"""Fingerprints are remembered only while nothing can have changed the data."""

import json
from dataclasses import replace

import pytest
import torch

from uncollapse.errors import BadInput
from uncollapse.study import Run, fingerprints
from uncollapse.study import build as building
from uncollapse.study.fingerprints import Fingerprints

FIT = {"batches": 2}


@pytest.fixture
def loads(monkeypatch):
    """The names of the data that were loaded."""
    names, load = [], building.load_data
    monkeypatch.setattr(building, "load_data", lambda run, where: names.append(run.data_name) or load(run, where))
    return names


def kept(folder, *runs):
    """What a second program finds after a first one."""
    first = Fingerprints(folder)
    first.keep({repr(run.data): (run, first.of(run)) for run in runs})
    return Fingerprints(folder)


def test_data_of_the_packages_are_loaded_once_for_good(tmp_path, loads):
    plain, other = Run(fit=FIT), Run(data={"name": "digits", "seed": 1}, fit=FIT)
    second = kept(tmp_path, plain, other)
    assert loads == ["digits", "digits"]
    assert second.of(plain) == building.load_data(plain, None).fingerprint
    assert second.of(other) != second.of(plain)
    assert second.of(replace(plain, seed=7)) == second.of(plain)
    assert len(loads) == 3
    third = Run(data={"name": "digits", "seed": 2}, fit=FIT)
    assert third.data != other.data
    assert second.of(third) not in {second.of(plain), second.of(other)}
    assert len(loads) == 4


def test_other_code_makes_the_memory_void(tmp_path, loads, monkeypatch):
    run = Run(fit=FIT)
    kept(tmp_path, run)
    monkeypatch.setattr(fingerprints, "version", lambda name: "another")
    assert Fingerprints(tmp_path).known == {}
    monkeypatch.undo()
    assert Fingerprints(tmp_path).known
    monkeypatch.setattr(fingerprints, "SOURCE", tmp_path)
    assert Fingerprints(tmp_path).known == {}


@pytest.mark.parametrize("text", ["{half", "[]", "{}", '{"format": 99, "fingerprints": {}}', "null", "3"])
def test_a_damaged_memory_is_no_memory(tmp_path, text):
    (tmp_path / "data.json").write_text(text)
    assert Fingerprints(tmp_path).known == {}


def test_files_are_read_each_time(tmp_path):
    import numpy as np

    def write(value):
        np.savez(tmp_path / "x.npz", x=np.full((40, 3), value, np.float32))

    run = Run(data={"name": str(tmp_path / "x.npz"), "likelihood": "gaussian"}, fit=FIT)
    write(0.25)
    before = kept(tmp_path, run)
    assert not (tmp_path / "data.json").exists()
    old = before.of(run)
    write(0.5)
    assert Fingerprints(tmp_path).of(run) != old


def test_what_cannot_be_loaded_is_tried_once(tmp_path, loads):
    prints = Fingerprints(tmp_path)
    for seed in range(3):
        with pytest.raises(BadInput, match="digits"):
            prints.of(Run(data="digit", fit=FIT, seed=seed))
    assert loads == ["digit"]


def test_the_file_is_plain_json(tmp_path):
    kept(tmp_path, Run(fit=FIT))
    found = json.loads((tmp_path / "data.json").read_text())
    assert found["code"]["torch"].startswith(torch.__version__.split("+")[0])
