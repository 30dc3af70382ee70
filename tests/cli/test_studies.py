"""`uncollapse study` over engines and places: wrong words, plain workers, and what status shows."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from uncollapse.claim import Claim, Folder, Sightings, try_claim
from uncollapse.cli import app
from uncollapse.errors import BadInput
from uncollapse.study.attempts import attempts

STUDY = """
name: s
data: digits
model: {encoder: {name: mlp, hidden: [16]}, decoder: {name: mlp, hidden: [16]}, latent: 3}
fit: {batches: 12, batch_size: 64, validate_every: 6}
measure: {nll_samples: 3, samples: 40}
arms: [{name: plain}, {name: b, remedies: [{Beta: {beta: 2}}]}]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path


def says(*words, code=0):
    done = CliRunner().invoke(app, [*map(str, words)])
    assert done.exit_code == code, done.output + repr(done.exception)
    return done.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "study.yaml", "--engine", "cloud"], "there is no engine 'cloud'"),
        (["run", "study.yaml", "--resources", "cores=4"], "--resources looks like cpus=4"),
        (["run", "study.yaml", "--address", "tcp://host:1"], "the engine local takes no address"),
        (["run", "study.yaml", "--out", "ftp://host/x"], "a study may lie at s3://"),
        (["status", "memory://nowhere/x"], "memory://nowhere/x holds no study yet"),
        (["table", "memory://nowhere/x"], "holds no study yet"),
    ],
)
def test_wrong_words_are_one_sentence(folder, words, message):
    with pytest.raises(BadInput, match=message):
        app(["study", *words], standalone_mode=False)
    assert not (folder / "runs" / "s").exists()


def test_workers_finish_a_study_and_say_what_was_done(folder):
    first = says("study", "work", "study.yaml")
    assert "done: plain, seed 0" in first
    assert "done before: 2 runs" in says("study", "work", "runs/s")
    rows = json.loads(says("study", "status", "runs/s", "--json"))
    assert [row["state"] for row in rows] == ["done", "done"]
    assert "2 done" in says("study", "status", "runs/s", "--watch")
    assert "plain" in says("study", "table", "runs/s", "--format", "csv")
    for run in (folder / "runs" / "s").glob("*/"):
        assert [one["engine"] for one in attempts(run)] == ["worker"]


def test_a_failed_run_is_told_and_taken_again_when_asked(folder):
    says("study", "work", "study.yaml")
    run = sorted((folder / "runs" / "s").glob("*/result.json"))[0].parent
    for path in run.glob("*.json"):
        path.unlink()
    (run / "weights.safetensors").unlink()
    (run / "failed.json").write_text('{"error": "no space left"}')
    done = CliRunner().invoke(app, ["study", "work", "study.yaml"])
    assert "1 of 2 runs failed" in str(done.exception)
    assert "no space left" in str(done.exception)
    assert "done: " in says("study", "work", "study.yaml", "--again")
    assert not (run / "failed.json").exists()


def test_status_shows_who_works_and_how_fast(folder):
    says("study", "work", "study.yaml")
    run = sorted((folder / "runs" / "s").glob("*/result.json"))[0].parent
    (run / "result.json").unlink()
    (run / "state.json").write_text('{"step": 100, "total": 400, "seconds": 2.0}')
    (run / "log.jsonl").unlink()
    claim = try_claim(Folder(run), Sightings())
    text = " ".join(says("study", "status", "runs/s").split())
    assert "1 running" in text
    assert "about 6 s of training left" in text
    row = next(row for row in json.loads(says("study", "status", "runs/s", "--json")) if row["state"] == "running")
    assert (row["step"], row["total"], row["rate"], row["eta"]) == (100, 400, 50.0, 6.0)
    assert row["worker"].endswith(f":{os.getpid()}")
    claim.release()


def test_a_worker_that_is_asked_to_stop_lets_its_run_go(folder):
    """SIGTERM, which clusters send: a checkpoint, the claim released, exit 130, and the next worker goes on."""
    words = [sys.executable, "-m", "uncollapse.cli", "study", "work", "study.yaml", "fit.batches=4000"]
    words += ["fit.checkpoint_every=20", "fit.validate_every=500"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not any(folder.glob("runs/s/*/state.json")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "another worker, or the same command, goes on" in " ".join(error.split())
    run = next(folder.glob("runs/s/*/state.json")).parent
    claim = try_claim(Folder(run), Sightings())
    assert isinstance(claim, Claim)
    claim.release()
    assert attempts(run)[0]["outcome"] == "interrupted"
    assert (run / "checkpoint.safetensors").exists()
