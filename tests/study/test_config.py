"""Settings from YAML: numbers, overrides, and every mistake with its line and the nearest right name."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from uncollapse.errors import BadInput
from uncollapse.study import Run, Study
from uncollapse.study.config import dump_study, load_run, override, parse
from uncollapse.study.loading import Loader

TEXT = """
name: small
data: digits
model: {encoder: mlp, latent: 4}
fit: {batches: 10, lr: 1e-3}
seeds: [0, 1]
arms:
  - name: plain
  - name: annealed
    remedies:
      - Anneal: {over: 5}
    fit: {lr: 2E-4}
"""


def test_a_study_is_its_runs():
    study = parse(Study, TEXT)
    runs = study.runs()
    assert [(run.arm, run.seed) for run in runs] == [("plain", 0), ("annealed", 0), ("plain", 1), ("annealed", 1)]
    assert runs[0].fit["lr"] == 1e-3
    assert runs[1].fit == {"batches": 10, "lr": 2e-4}
    assert runs[1].remedies == [{"Anneal": {"over": 5}}]
    assert runs[0].model.encoder == "mlp"
    assert runs[0].model.latent == 4


def test_a_study_survives_its_own_yaml():
    study = parse(Study, TEXT)
    again = parse(Study, dump_study(study))
    assert again == study
    assert [a.hash("x") for a in again.runs()] == [b.hash("x") for b in study.runs()]


def test_the_hash_depends_on_everything_that_matters():
    base = parse(Study, TEXT).runs()[0]
    changed = [
        parse(Study, TEXT, overrides=[change]).runs()[0]
        for change in ("fit.lr=2e-3", "model.latent=5", "seeds=[7]", "measure.k=3", "data.name=gaussian-mixture")
    ]
    hashes = {base.hash("x"), base.hash("another fingerprint"), *(run.hash("x") for run in changed)}
    assert len(hashes) == 7
    assert base.hash("x") == parse(Study, TEXT).runs()[0].hash("x")


def test_defaults_are_written_out_so_that_they_cannot_drift():
    described = parse(Study, TEXT).runs()[0].describe()
    assert described["fit"]["batch_size"] == 64
    assert described["measure"]["nll_samples"] == 500
    assert "seed" not in described["fit"]


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (("latent: 4", "latnet: 4"), 4, "model.latnet: unknown key; did you mean latent"),
        (("latent: 4", "latent: four"), 4, "model.latent"),
        (("lr: 1e-3", "lrr: 1e-3"), 5, "fit.lrr: unknown key; did you mean lr"),
        (("seeds: [0, 1]", "seeds: zero"), 6, "seeds"),
        (("seeds: [0, 1]", "sedes: [0, 1]"), 6, "did you mean seeds"),
        (("over: 5}", "over: 5}\n    remedy: 3"), 12, "arms.1.remedy: unknown key; did you mean remedies"),
        (("seeds: [0, 1]", "seeds: [0, 0]"), None, "every seed of a study should occur once"),
        (("name: annealed", "name: plain"), None, "every arm of a study should occur once"),
        (("seeds: [0, 1]", "seeds: []"), None, "at least one arm and one seed"),
        (("name: small", "name: ../up"), None, "name of its folder"),
        (("data: digits", "data: digits\ndata: digits"), 4, "given twice"),
        (("fit: {batches: 10", "fit: {batches: 10"), None, None),
    ],
)
def test_a_mistake_names_its_line_its_place_and_the_nearest_right_name(change, line, words):
    text = TEXT.replace(*change)
    if words is None:
        assert parse(Study, text).name == "small"
        return
    with pytest.raises(BadInput) as raised:
        parse(Study, text, "study.yaml")
    assert words in str(raised.value)
    if line is not None:
        assert f"study.yaml:{line}:" in str(raised.value)


def test_all_mistakes_are_reported_at_once():
    text = TEXT.replace("latent: 4", "latnet: 4").replace("lr: 1e-3", "lrr: 1e-3")
    with pytest.raises(BadInput, match="several mistakes") as raised:
        parse(Study, text)
    assert "latnet" in str(raised.value)
    assert "lrr" in str(raised.value)


@pytest.mark.parametrize("text", ["", "[1, 2]", "just words", "a: [", "a: b: c", "\x00"])
def test_what_is_not_a_mapping_is_refused_in_one_sentence(text):
    with pytest.raises(BadInput) as raised:
        parse(Study, text, "x.yaml")
    assert str(raised.value).startswith("x.yaml")


def test_a_run_needs_a_length(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("data: digits\n")
    with pytest.raises(BadInput, match="batches"):
        load_run(path)
    assert load_run(path, ["fit.batches=5", "seed=3"]).seed == 3
    with pytest.raises(BadInput, match="cannot read"):
        load_run(tmp_path / "none.yaml")


def test_the_seed_has_one_place():
    with pytest.raises(BadInput, match="seed of the run"):
        Run(fit={"batches": 3, "seed": 1})


@pytest.mark.parametrize("assignment", ["lr", "=3", "a.b=[", ""])
def test_a_bad_override_is_refused(assignment):
    with pytest.raises(BadInput):
        override({}, assignment)


@settings(max_examples=60, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_read_as_numbers(value):
    assert yaml.load(f"a: {value!r}", Loader)["a"] == value
    assert yaml.load(f"a: {value:e}", Loader)["a"] == float(f"{value:e}")


def test_yaml_runs_no_code():
    with pytest.raises(BadInput):
        parse(Study, "name: !!python/object/apply:os.system ['true']")
