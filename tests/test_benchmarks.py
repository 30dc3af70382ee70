"""The command and the page of measured speed, from made-up figures."""

import json
import sys
import types
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import __main__ as command
from benchmarks import page

MACHINE = {"processor": "Processor X", "cores": 2, "threads": 1, "torch": "2.9.0", "memory": "15.6 GiB"}
CURVE = {
    "x": [10, 100, 1000],
    "xlabel": "examples N",
    "seconds": {"ours": [0.1, 0.2, 0.4], "peer": [0.2, 2.0, None]},
    "MiB": {"ours": [0.0, 1.0, 2.0], "peer": [10, 1000, None]},
}
QUEUE = {"x": [0, 16, 64], "xlabel": "posteriors in the queue", "plain steps": {"measured": [1.0, 1.1, 1.2]}}


def figure(ratio, goal, **more):
    return {"ratio": ratio, "min": ratio / 2, "max": ratio * 2, "goal": goal, "rounds": 3, **more}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Results, remarks and docs in a folder of their own."""
    monkeypatch.setattr(page, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(command, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(page, "REMARKS", tmp_path / "remarks.md")
    monkeypatch.setattr(page, "PAGE", tmp_path / "docs" / "benchmarks.md")
    (tmp_path / "results").mkdir()
    (tmp_path / "docs").mkdir()
    return tmp_path


def put(place, name, **parts):
    (place / "results" / f"{name}.json").write_text(json.dumps(parts))


@pytest.mark.parametrize(
    ("ratio", "goal", "says"),
    [
        (1.15, "<= 1.15", "yes"),
        (1.4, "<= 1.1", "no: 1.4 instead of 1.1"),
        (1.474, "<= 1.15 x FLOPs (1.47)", "no: 1.474 instead of 1.47"),
        (1.3, "<= 1.15 x FLOPs (1.32)", "yes"),
        (1.75, ">= 1.75", "yes"),
        (1.2, ">= 1.25", "no: 1.2 instead of 1.25"),
        (1.0, "> 1", "no: 1 instead of 1"),
        (0.9, "< 1", "yes"),
        (1.4, "<= 1 (of 0.6 s)", "no: 0.84 s instead of 0.6 s"),
        (2.0, "<= 1 (of 300 MiB)", "no: 600 MiB instead of 300 MiB"),
        (0.99, "<= 1 (of 0.6 s)", "yes"),
        (4.2, ">= 5 (as asked)", "no: 4.2 instead of 5"),
        (9.0, "none", ""),
        (9.0, "none (of 2 s)", ""),
        (9.0, "about 0.6", ""),
        (1.0, ">= 3 from some images on", ""),
        (1.0, "<= 0.3 s more; measured 0.288 s", ""),
        (9.0, "", ""),
    ],
)
def test_goals_are_judged_by_the_numbers(ratio, goal, says):
    assert page.judged(figure(ratio, goal)) == says


def test_a_row_tells_what_was_measured():
    row = page.cells("a | b", figure(1.2345, "<= 2", seconds={"fit": 4.876, "bare": 0.0123}, floor=0.5, flops=1.149))
    assert row[1:3] == ("1.234", "0.6172 to 2.469")
    assert row[3:5] == ("fit 4.88 s; bare 12.3 ms", "0.5 s; 1.15 x FLOPs")
    row = page.cells("x", figure(1, "none", s=0.27, torch=1.234, auto="stacked"))
    assert row[3] == "0.27 s; torch: 1.23; auto: stacked"
    assert page.cells("x", figure(1, "none", MiB={"ours": 1.5, "peer": 2000}))[3] == "ours 1.5 MiB; peer 2000 MiB"
    assert page.cells("x", figure(1, "none", seconds=[3, 1, 2]))[3] == "2 s"
    assert "| a \\| b |" in "\n".join(page.table({"a | b": figure(1, "none")}))


def test_the_page_has_tables_plots_machines_and_what_falls_short(place):
    put(place, "training", machine={"processor": "Old", "threads": 1, "torch": "2.7"}, figures={"a": figure(1, "<= 2")})
    put(
        place, "metrics", machines=dict.fromkeys(("figures", "curves"), MACHINE) | {"gpu": {"gpu": "GPU Y"} | MACHINE},
        peers={"figures": {"prdc": "0.2"}}, figures={"b": figure(3, "<= 2"), "c": figure(3, "none")},
        gpu={"d": figure(7, ">= 5")}, curves={"Time: all of it": CURVE, "Queue": QUEUE},
    )  # fmt: skip
    (place / "remarks.md").write_text(
        "For editors.\n\n## training\n\n## metrics\n\nThe profile shows sorting.\n\nMore.\n"
    )
    text = page.write(("training", "metrics", "seeds")).read_text()
    assert "2 of 3 goals are reached; not reached:\n\n- Metrics: b: 3 instead of 2\n" in text
    assert "Old, 1 thread, torch 2.7." in text
    assert "Processor X, 2 cores, 1 thread, 15.6 GiB of memory, torch 2.9.0, prdc 0.2." in text
    assert "### On a GPU\n\nGPU Y, Processor X" in text
    assert text.index("## Training") < text.index("## Metrics") < text.index("| b |") < text.index("| d |")
    assert f"### {page.HEADING}\n\nThe profile shows sorting.\n\nMore.\n" in text
    assert text.count(page.HEADING) == 1
    assert "For editors" not in text
    assert "Several seeds" not in text
    for name in ("metrics-time-all-of-it", "metrics-queue"):
        assert f"(images/benchmarks/{name}.svg)" in text
        assert (place / "docs" / "images" / "benchmarks" / f"{name}.svg").read_text().count("<svg") == 1


def test_the_same_figures_give_the_same_bytes(place):
    put(place, "metrics", machines={}, curves={"Time": CURVE}, figures={})
    picture = place / "docs" / "images" / "benchmarks" / "metrics-time.svg"
    first = page.write(("metrics",)).read_text(), picture.read_bytes()
    assert (page.write(("metrics",)).read_text(), picture.read_bytes()) == first


def test_a_remark_under_an_unknown_heading_is_not_lost_in_silence():
    with pytest.raises(ValueError, match="heading 'metric'; there are"):
        page.remarks("## metric\n\nwords")


def test_every_benchmark_has_a_title_and_the_kept_remarks_can_be_read():
    assert set(command.NAMES) == set(page.TITLES)
    assert set(page.remarks((Path(page.__file__).parent / "remarks.md").read_text())) == set(command.NAMES)


@pytest.fixture
def modules(monkeypatch):
    """A benchmark that works, one that breaks and one that is interrupted."""

    def made(name, run, **more):
        module = types.ModuleType(f"benchmarks.{name}")
        module.run, module.__file__ = run, __file__
        vars(module).update(more)
        monkeypatch.setitem(sys.modules, module.__name__, module)

    def breaks(quick):
        raise ModuleNotFoundError("No module named 'pythae'")

    def stops(quick):
        raise KeyboardInterrupt

    made("networks", lambda quick: {"a": figure(1, "<= 2")}, curves=lambda quick: {"Time": CURVE})
    made("training", breaks)
    made("seeds", stops)


def test_each_part_is_kept_and_a_failure_stops_nothing(place, modules, capsys):
    assert command.main(["training", "networks", "--only", "figures"]) == 1
    kept = json.loads((place / "results" / "networks.json").read_text())
    assert kept["figures"]["a"]["goal"] == "<= 2"
    assert {"processor", "cores", "threads", "torch"} <= set(kept["machines"]["figures"])
    assert "curves" not in kept
    assert command.main(["networks", "--only", "curves"]) == 0
    again = json.loads((place / "results" / "networks.json").read_text())
    assert again["curves"]["Time"]["x"] == CURVE["x"]
    assert again["figures"] == kept["figures"]
    told = capsys.readouterr().out
    assert "failed: training, figures: ModuleNotFoundError: No module named 'pythae'" in " ".join(told.split())
    assert "1 of 2: training" in told
    assert "## Steps of published networks" in (place / "docs" / "benchmarks.md").read_text()


def test_what_was_measured_before_an_interruption_is_kept(place, modules):
    assert command.main(["networks", "seeds", "training", "--only", "figures"]) == 130
    assert [path.name for path in (place / "results").iterdir()] == ["networks.json"]
    assert "| a |" in (place / "docs" / "benchmarks.md").read_text()


def test_quick_keeps_nothing(place, modules, capsys):
    assert command.main(["networks", "--quick"]) == 0
    assert list((place / "results").iterdir()) == []
    assert list((place / "docs").iterdir()) == []
    assert "yes" in capsys.readouterr().out


def test_a_wrong_name_is_refused(capsys):
    with pytest.raises(SystemExit):
        command.main(["metric"])
    assert "there is no benchmark metric; there are training," in " ".join(capsys.readouterr().err.split())
