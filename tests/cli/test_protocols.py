"""`uncollapse protocols` and the study commands on a protocol's name, in this process."""

import json

import pytest
from typer.testing import CliRunner

from uncollapse.cli import app
from uncollapse.errors import BadInput

QUICK = ["data.size=600", "fit.epochs=2", "fit.validate_every=2", "fit.batch_size=100", "seeds=[0]",
         "measure.nll_samples=5", "measure.legacy={mi: {formula: batch_mutual_information, batch: 50}}"]  # fmt: skip


def said(*words):
    found = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.output


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_list_says_what_can_be_run(here):
    (here / "results" / "fmn-toy-small").mkdir(parents=True)
    rows = {row["name"]: row for row in json.loads(said("protocols", "list", "--json"))}
    assert rows["fmn-toy"]["kept"] == "small"
    assert rows["fmn-toy"]["data"] == "yes"
    assert rows["linear-phase"]["data"] == "none needed"
    assert rows["linear-phase"]["paper"] == "Lucas 2019"
    assert "protocols" in said("protocols", "list")


def test_show_is_readable(here):
    text = said("protocols", "show", "fmn-toy")
    assert "144.09 (12.59)" in text
    assert "The likelihood does not suffer" in text
    assert json.loads(said("protocols", "show", "fmn-toy", "--json"))["name"] == "fmn-toy"


def test_unknown_names_and_scales_are_one_sentence(here):
    for words, hint in [
        (("protocols", "show", "fmn-toi"), "did you mean fmn-toy"),
        (("study", "run", "fmn-toy", "--scale", "smal"), "did you mean small"),
        (("study", "run", "nonidentifiable", "fit.lr=1"), "takes no settings"),
        (("study", "status", "nonidentifiable"), "computed exactly"),
    ]:
        with pytest.raises(BadInput, match=hint):
            CliRunner().invoke(app, list(words), catch_exceptions=False)


@pytest.mark.slow
def test_a_protocol_runs_by_its_name_and_is_exported(here):
    text = said("study", "run", "fmn-toy", *QUICK, "--workers", "1")
    assert "their formula" in text
    assert "cannot be told" in text
    folder = here / "runs" / "fmn-toy-small"
    assert 'id="protocol"' in (folder / "report.html").read_text()
    said("study", "export", folder, "--to", "kept")
    kept = json.loads((here / "kept" / "protocol.json").read_text())
    assert kept["view"]["rows"][0]["arm"] == "VAE"
    assert "144.09 (12.59)" in said("study", "table", "kept", "--format", "markdown")
    assert "nll_mean" in said("study", "table", "kept", "--format", "csv")
    said("study", "report", "kept", "--page", "page.html")
    assert 'id="protocol"' in (here / "page.html").read_text()


def test_an_exact_protocol_runs_by_its_name_and_is_exported(here):
    text = said("study", "run", "nonidentifiable", "--scale", "small")
    assert "holds" in text
    folder = here / "runs" / "nonidentifiable-small"
    assert "Claims" in (folder / "report.html").read_text()
    said("study", "export", "nonidentifiable", "--to", "kept")
    assert "deviation" in said("study", "table", "kept", "--format", "markdown")
    with pytest.raises(BadInput, match="rich, markdown and json"):
        CliRunner().invoke(app, ["study", "table", "kept", "--format", "csv"], catch_exceptions=False)
