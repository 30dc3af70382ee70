"""The program as a user meets it: exit codes, one-sentence errors, files left behind."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

RUN = """
data: digits
model: {encoder: {name: mlp, hidden: [16]}, decoder: {name: mlp, hidden: [16]}, latent: 3}
fit: {batches: 12, batch_size: 64, validate_every: 6}
measure: {nll_samples: 3, samples: 40}
remedies: [{Beta: {beta: 0.5}}]
"""
STUDY = RUN.replace(
    "remedies: [{Beta: {beta: 0.5}}]", "name: s\narms: [{name: plain}, {name: b, remedies: [{Beta: {beta: 2}}]}]"
)


def program(*arguments, cwd, check=0, **options):
    command = [sys.executable, "-m", "uncollapse.cli", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240, check=False, **options)
    assert done.returncode == check, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run.yaml").write_text(RUN)
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path


def test_help_everywhere(folder):
    for words in ([], ["demo"], ["fit"], ["study"], ["study", "run"], ["study", "table"], ["data"], ["data", "show"]):
        shown = program(*words, "--help", cwd=folder).stdout
        assert "Usage" in shown
        if len(words) == 2 or words in (["demo"], ["fit"]):
            assert "Example" in shown


def test_one_run_from_a_file(folder):
    first = program("fit", "run.yaml", "fit.lr=1e-2", "--json", cwd=folder)
    result = json.loads(first.stdout)
    assert result["run"]["fit"]["lr"] == 0.01
    again = json.loads(program("fit", "run.yaml", "fit.lr=1e-2", "--json", cwd=folder).stdout)
    assert again == result
    shown = program("fit", "run.yaml", "fit.lr=1e-2", cwd=folder).stdout
    assert "verdict" in shown
    assert result["hash"] in shown


def test_a_study_from_a_file_to_a_page(folder):
    done = program("study", "run", "study.yaml", "--workers", 2, cwd=folder)
    assert "page: runs/s/report.html" in done.stdout
    page = (folder / "runs" / "s" / "report.html").read_text()
    assert page.count("<html") == 1
    states = json.loads(program("study", "status", "runs/s", "--json", cwd=folder).stdout)
    assert [row["state"] for row in states] == ["done", "done"]
    tables = {form: program("study", "table", "runs/s", "--format", form, cwd=folder).stdout for form in
              ("rich", "csv", "latex", "json", "markdown")}  # fmt: skip
    assert len(set(tables.values())) == 5
    assert json.loads(tables["json"])
    assert "toprule" in tables["latex"]
    program("study", "report", "runs/s", "--page", "again.html", cwd=folder)
    assert (folder / "again.html").exists()
    a_finished_study_is_shown_without_torch(folder)


def a_finished_study_is_shown_without_torch(folder):
    page = folder / "runs" / "s" / "report.html"
    text, date = page.read_text(), page.stat().st_mtime_ns
    code = "import sys; from uncollapse.cli import app; app(sys.argv[1:], standalone_mode=False); "
    code += "assert not {'torch', 'sklearn', 'matplotlib', 'scipy'} & set(sys.modules)"
    again = ["study", "run", "study.yaml", "--workers", "2"]
    for words in (again, ["study", "status", "runs/s"], ["study", "table", "runs/s"], ["study", "--help"]):
        subprocess.run([sys.executable, "-c", code, *words], cwd=folder, check=True, capture_output=True)
    assert page.stat().st_mtime_ns == date
    result = next(folder.glob("runs/s/*/result.json"))
    whole = result.read_text()
    result.write_text(whole.replace('"seed": 0', '"seed": 0 '))
    program(*again, cwd=folder)
    assert page.stat().st_mtime_ns > date
    assert page.read_text() == text
    result.write_text(whole[:100])
    assert "is damaged" in program("study", "table", "runs/s", cwd=folder).stderr
    assert "an earlier result was damaged" in " ".join(program(*again, cwd=folder).stdout.split()) or result.exists()
    assert result.with_name("result.json.damaged").read_text() == whole[:100]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["fit", "none.yaml"], 2, "cannot read none.yaml"),
        (["fit", "run.yaml", "fit.lrr=1"], 2, "did you mean lr"),
        (["fit", "run.yaml", "fit.batch_size=100000"], 2, "larger than the training data"),
        (["fit", "run.yaml", "data=nothing"], 2, "nothing"),
        (["fit", "run.yaml", "remedies=[Betta]"], 2, "did you mean Beta"),
        (["fit", "run.yaml", "fit.device=tpu"], 2, "device should be"),
        (["study", "run", "none.yaml"], 2, "cannot read none.yaml"),
        (["study", "run", "study.yaml", "--engine", "cloud"], 2, "there is no engine"),
        (["study", "table", "study.yaml"], 2, "holds no study yet"),
        (["study", "table", "demo", "--format", "word"], 2, "holds no study yet"),
        (["data", "show", "mnits"], 2, "did you mean 'mnist'"),
        (["nonsense"], 2, "No such command"),
        (["fit"], 2, ""),
    ],
)
def test_bad_usage_is_one_sentence_and_exit_code_2(folder, words, code, says):
    done = program(*words, cwd=folder, check=code)
    assert says in " ".join(done.stderr.split())


def test_failed_work_is_exit_code_1(folder):
    (folder / "file").write_text("in the way")
    done = program("fit", "run.yaml", "--out", "file/below", cwd=folder, check=1)
    assert "cannot write" in done.stderr
    assert done.stderr.count("\n") <= 2


def test_debug_shows_the_traceback(folder):
    command = [sys.executable, "-m", "uncollapse.cli", "--debug", "fit", "none.yaml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert "Traceback" in done.stderr
    assert done.returncode != 0


def test_ctrl_c_leaves_a_run_that_resumes_to_the_same_bits(folder):
    words = ["fit", "run.yaml", "fit.batches=400", "fit.checkpoint_every=10", "measure.history=false"]
    command = [sys.executable, "-m", "uncollapse.cli", *words, "--out", "broken"]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(folder.glob("broken/*/state.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "run again to resume" in errors
    program(*words, "--out", "broken", cwd=folder)
    program(*words, "--out", "whole", cwd=folder)
    weights = [next(folder.glob(f"{name}/*/weights.safetensors")).read_bytes() for name in ("broken", "whole")]
    assert weights[0] == weights[1]


def test_the_version_is_told(folder):
    assert program("--version", cwd=folder).stdout.strip().count(".") == 2
    assert "Usage" in program(cwd=folder, check=2).stdout


def test_every_arm_that_cannot_be_built_is_named_before_any_work(folder):
    (folder / "bad.yaml").write_text(
        STUDY.replace("{beta: 2}", "{bata: 2}").replace("name: plain", "name: p, remedies: [Anneall]")
    )
    done = program("study", "run", "bad.yaml", cwd=folder, check=2)
    assert "arm 'p': there is no remedy 'Anneall'; did you mean Anneal?" in done.stderr
    assert "arm 'b': Beta has no argument 'bata'; did you mean beta?" in done.stderr
    assert not (folder / "runs").exists()


def test_data_are_listed(folder):
    names = [entry["name"] for entry in json.loads(program("data", "list", "--json", cwd=folder).stdout)]
    assert {"digits", "gaussian-mixture", "mnist", "fashion-mnist"} <= set(names)
    assert (
        "1,257 to train" in program("data", "show", "digits", cwd=folder, env={**os.environ, "COLUMNS": "200"}).stdout
    )
