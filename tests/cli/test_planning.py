"""`uncollapse study plan`."""

import json

import pytest
from typer.testing import CliRunner

from uncollapse.cli import app
from uncollapse.cli.planning import numbers
from uncollapse.errors import BadInput


@pytest.fixture
def study(tmp_path):
    folder = tmp_path / "s"
    for seed in range(3):
        place = folder / f"run{seed}"
        place.mkdir(parents=True)
        result = {"format": 1, "hash": f"run{seed}", "arm": "a", "seed": seed, "metrics": {}, "verdict": {},
                  "steps": 10, "history": [{}, {}], "seconds": {"fit": 10.0 + seed, "measure": 1.0}}  # fmt: skip
        (place / "result.json").write_text(json.dumps(result))
    (folder / "study.yaml").write_text("name: s\narms: [{name: a}]\nseeds: [0, 1, 2]\nfit: {batches: 10}\n")
    (folder / "study.json").write_text('{"name": "s", "arms": ["a"], "seeds": [0, 1, 2]}')
    return folder


def test_a_plan_is_printed_and_has_a_page(study):
    words = ["study", "plan", str(study), "--runs", "100", "--workers", "4,1", "--start", "2", "--mtbf", "0"]
    found = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    told = json.loads(found.stdout)
    assert [(one["workers"], one["runs"]) for one in told["plans"]] == [(1, 100), (4, 100)]
    assert told["plans"][0]["seconds"] == pytest.approx(2 + 12 * 100 + 100 * 0.01, rel=0.01)
    assert told["plans"][0]["interval"] is None
    assert told["failures"]["mtbf"] is None
    assert (study / "plan.html").read_text().startswith("<!doctype html>")
    shown = CliRunner().invoke(app, words, catch_exceptions=False)
    assert "100 runs" in shown.stdout


def test_numbers_of_workers_are_checked():
    assert numbers("64,1,1") == [1, 64]
    for wrong in ("", "0,1", "many", "1;2"):
        with pytest.raises(BadInput, match="looks like 1,64,1024"):
            numbers(wrong)
