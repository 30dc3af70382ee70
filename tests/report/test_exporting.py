"""What is kept of a study: small, complete, and read like the study itself."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from uncollapse import report
from uncollapse.errors import BadInput
from uncollapse.report.exporting import details, effect, export


def result(arm, seed, mi, kl, nll, seconds=10.0):
    values = {"mi_lower": mi, "mi_upper": mi + 0.1, "kl": kl, "nll": nll, "active_units": 2.0}
    return {
        "format": 1, "hash": f"{arm}-{seed}", "arm": arm, "seed": seed, "seconds": {"fit": seconds, "measure": 1.0},
        "metrics": {key: {"value": value, "se": 0.1, "unit": "nats"} for key, value in values.items()},
        "verdict": {"word": "collapsed", "reasons": []}, "run": {"data_fingerprint": "a"},
    }  # fmt: skip


RESULTS = [
    *(result("plain", seed, 1.0 + 0.01 * seed, 1.1, 20.0) for seed in range(3)),
    *(result("better", seed, 3.0 + 0.02 * seed, 3.4 + 0.01 * seed, 20.5 + 0.01 * seed, 15.0) for seed in range(3)),
    *(result("hollow", seed, 1.0 + 0.01 * seed, 8.0 + 0.01 * seed, 25.0 + 0.01 * seed) for seed in range(3)),
]
HEADER = {"name": "made up", "arms": ["plain", "better", "hollow"], "seeds": [0, 1, 2], "baseline": "plain"}


@pytest.fixture
def study(tmp_path):
    folder = tmp_path / "study"
    for one in RESULTS:
        (folder / one["hash"]).mkdir(parents=True)
        (folder / one["hash"] / "result.json").write_text(json.dumps(one))
        (folder / one["hash"] / "weights.safetensors").write_bytes(b"heavy")
    (folder / "study.json").write_text(json.dumps(HEADER | {"hashes": [one["hash"] for one in RESULTS]}))
    return folder


def test_words_tell_information_from_mere_kl():
    assert effect("better", "plain", RESULTS) == "more information (+2.01), NLL +0.51"
    assert effect("hollow", "plain", RESULTS) == "more KL (+6.91), not more information, NLL +5.01"
    uncertain = [*RESULTS[:3], *(result("b", seed, 1.5 + 2 * seed, 6.0 + 0.1 * seed, 20.0) for seed in range(3))]
    assert effect("b", "plain", uncertain).startswith("more KL (+5.00), information not told apart (+2.49)")
    assert "no verdict" in effect("better", "plain", [RESULTS[0], RESULTS[3]])


def test_long_table_has_every_method_with_its_spread():
    lines = details(HEADER, RESULTS).splitlines()
    assert len(lines) == 5
    assert "3.02 (0.02)" in lines[3]
    assert "baseline" in lines[2]


def test_export_is_read_like_the_study_and_holds_no_weights(study, tmp_path):
    files = export(study, tmp_path / "kept")
    assert {path.name for path in files} == {"result.json", "study.json", "table.md", "frontier.svg", "report.html"}
    _, results = report.load_results(tmp_path / "kept")
    assert len(results) == 9
    assert details(HEADER, results) == (tmp_path / "kept" / "table.md").read_text()
    root = ElementTree.parse(tmp_path / "kept" / "frontier.svg").getroot()
    assert root.tag.endswith("svg")
    assert "var(--s0)" in (tmp_path / "kept" / "frontier.svg").read_text()
    assert "--s0:" in (tmp_path / "kept" / "frontier.svg").read_text()


def test_export_refuses_the_folder_itself_and_a_folder_without_results(study, tmp_path):
    with pytest.raises(BadInput, match="another folder"):
        export(study, study)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput):
        export(tmp_path / "empty", tmp_path / "kept")


def test_command(study, tmp_path):
    kept = tmp_path / "kept"
    (study / "study.yaml").write_text("name: made up\narms: [{name: plain}]\n")
    done = subprocess.run(
        [sys.executable, "-m", "uncollapse.cli", "study", "export", str(study), "--to", str(kept)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "files" in done.stdout
    assert (kept / "study.yaml").exists()
