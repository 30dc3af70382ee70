"""The three columns from made-up results: published, their formula, the right metric."""

import json
import math

import pytest

from uncollapse.protocols import load
from uncollapse.protocols.differing import differing
from uncollapse.protocols.drawing import panels
from uncollapse.protocols.folder import compute, mark, marked, view_of
from uncollapse.protocols.spec import Figure, Protocol
from uncollapse.protocols.table import view
from uncollapse.report.protocol import to_json, to_markdown, to_rich
from uncollapse.report.protocol.cells import heads, line
from uncollapse.report.protocol.described import described
from uncollapse.report.protocol.exporting import export_protocol
from uncollapse.report.protocol.page import build

HEADER = {"arms": ["plain", "critic", "ours"], "seeds": [0, 1], "command": "uncollapse study run tiny --scale small"}


@pytest.fixture
def runs(result):
    plain = [result("plain", s, lower=0.1 + s / 50, legacy=0.1) for s in (0, 1)]
    return plain + [result("critic", s, lower=4.0 + s, legacy=3.85 + s / 100) for s in (0, 1)]


@pytest.fixture
def made(tiny, runs):
    return {**view(tiny, "small", HEADER, runs), "panels": panels(tiny, HEADER["arms"], runs)}


def test_each_published_column_has_their_formula_and_the_right_metrics(made):
    assert heads(made) == ["MI: published", "MI: their formula", "MI ≥", "MI ≤", "AU: published", "AU"]
    by = {row["arm"]: line(made, row) for row in made["rows"]}
    assert by["plain"] == ["0.03 (0.01)", "0.10 (0.00)", "0.11 (0.01)", "1.11 (0.01)", "8.00", "4.00 (0.00)"]
    assert by["critic"] == ["3.80", "3.85⌈ (0.01)", "4.50 (0.71)", "5.50 (0.71)", "0.9 to 1", "4.00 (0.00)"]


def test_published_methods_come_first_and_ours_after_them(made):
    assert [(row["arm"], row["seeds"]) for row in made["rows"]] == [("plain", 2), ("critic", 2), ("ours", 0)]


def test_data_times_and_versions_are_those_of_the_runs(made):
    assert made["data"] == [{"name": "digits", "fingerprint": "6a26" * 16}]
    assert (made["seconds"], made["versions"]) == (12.0, {"torch": "2"})


def test_claims_are_judged(made):
    assert [one["word"] for one in made["claims"]] == ["cannot be told"]  # two seeds: t is 12.7


def test_settings_that_are_not_the_papers_are_told(tiny):
    told = differing(tiny.study_at("small"), tiny.study_at("paper"))
    assert "fit.epochs: not set, at the paper 30" in told
    assert "fit.batches: 20, at the paper not set" in told
    assert "seeds: [0, 1], at the paper [0, 1, 2]" in told
    assert "left out: ours" in told
    assert not any("Beta" in one for one in told)
    assert not differing(tiny.study_at("paper"), tiny.study_at("paper"))


def test_texts_hold_table_claims_and_differences(made):
    text = to_markdown(made)
    for word in ("3.80", "⌈", "cannot be told", "The network is ours", "The appendix", "6a26", made["command"]):
        assert word in text
    assert json.loads(to_json(made))["rows"][0]["published"]["mi"]["std"] == 0.01


def test_terminal_shows_a_table_a_column(made):
    from rich.console import Console

    screen = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    screen.print(to_rich(made))
    text = screen.export_text()
    screen.file.close()
    assert "their formula" in text
    assert "cannot be told: The critic adds information" in text


def test_page_escapes_and_shows_everything(made):
    page = build({**made, "title": "<script>", "question": "a < b?"})
    assert "<script>" not in page
    assert "a &lt; b?" in page
    for word in ("cannot be told", "their formula", "<svg", "uncollapse study run tiny"):
        assert word in page


def test_the_section_stands_in_a_studys_page(made, runs):
    from uncollapse.report import page

    html = page.build({"name": "tiny", "arms": ["plain", "critic"], "protocol": made}, runs)
    assert 'id="protocol"' in html
    assert 'id="protocol"' not in page.build({"name": "tiny", "arms": ["plain", "critic"]}, runs)


def test_history_lines_are_those_of_the_runs(tiny, runs):
    found = panels(tiny, ["plain", "critic"], runs)
    assert found[0]["series"][0] == {"arm": "plain", "points": [[1.0, 0.5], [2.0, 0.1]]}


@pytest.mark.parametrize(
    "figure",
    [
        Figure("bars", ["mi_lower", "legacy.mi"]),
        Figure(
            "heat",
            ["mi_lower"],
            {"label": "a", "values": ["pl", "x"]},
            {"label": "b", "values": ["ain"]},
            "{row}{column}",
        ),
        Figure("noise"),
    ],
)
def test_every_kind_of_figure_is_drawn(tiny, runs, made, figure):
    noisy = [{**one, "noise": [{"variance": v, "value": v * 3} for v in (0, 1)]} for one in runs]
    found = panels(Protocol(**{**vars(tiny), "figure": figure}), ["plain", "critic"], noisy)
    assert found
    assert "<svg" in build({**made, "panels": found})


def test_bars_stand_beside_what_was_published_in_the_same_formula(tiny, runs):
    mine, theirs = panels(
        Protocol(**{**vars(tiny), "figure": Figure("bars", ["mi_lower", "legacy.mi"])}), ["plain"], runs
    )
    assert mine["bars"][0]["published"] is None
    assert theirs["bars"][0]["published"] == 0.03


def test_folder_knows_its_protocol(tiny, runs, tmp_path):
    mark(tmp_path, tiny, "small")
    assert marked(tmp_path).protocol == tiny
    assert marked(tmp_path / "other") is None
    found = view_of(tmp_path, HEADER, runs)
    assert (found["scale"], found["name"]) == ("small", "tiny")


def test_export_keeps_table_and_claims(made, tiny, tmp_path):
    mark(tmp_path / "runs", tiny, "small")
    export_protocol(tmp_path / "runs", made, tmp_path / "kept")
    assert "cannot be told" in (tmp_path / "kept" / "protocol.md").read_text()
    kept = json.loads((tmp_path / "kept" / "protocol.json").read_text())
    assert kept["view"]["claims"][0]["word"] == "cannot be told"
    assert (tmp_path / "kept" / "protocol-1.svg").read_text().startswith("<svg")
    assert marked(tmp_path / "kept").protocol == tiny


def exact(scale, progress):
    """An exact computation for the test below."""
    progress("working")
    series = [{"arm": "x", "points": [[0, 1], [1, 2]]}]
    return {
        "rows": [{"arm": "plain", "kl": 2.0, "mi": math.nan}],
        "quantities": {"worst": 0.0},
        "figure": {"panels": [{"kind": "lines", "title": "t", "series": series}]},
    }


def test_exact_computations_need_no_runs(tiny, tmp_path, monkeypatch):
    import sys
    import types

    module = types.ModuleType("made_up_exact")
    module.compute = exact
    monkeypatch.setitem(sys.modules, "made_up_exact", module)
    claim = {"say": "It is small", "parts": [{"metric": "worst", "at_most": 1}], "because": ""}
    from pydantic import TypeAdapter

    fields = {
        **{k: v for k, v in vars(tiny).items() if k not in ("study", "claims")},
        "compute": "made_up_exact:compute",
    }
    protocol = TypeAdapter(Protocol).validate_python({**fields, "claims": [claim]})
    said = []
    found = compute(protocol, "small", said.append)
    mark(tmp_path, protocol, "small", found)
    shown = view_of(tmp_path, {}, [])
    assert said == ["working"]
    assert shown["claims"][0]["word"] == "holds"
    assert shown["panels"][0]["series"][0]["points"] == [[0, 1], [1, 2]]
    assert "<svg" in build(shown)


@pytest.mark.parametrize("name", ["fmn-toy", "lr-sweep", "linear-phase", "cr-mnist"])
def test_a_protocol_in_words(name):
    from dataclasses import asdict

    text = described(asdict(load(name)))
    for word in ("Published", "Claims", "Scales", load(name).question):
        assert word in text
