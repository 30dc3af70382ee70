"""The page of reliability says what the result files say, and the experiments can be started."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from soak import __main__ as command
from soak import page

TEXT = "before\n<!-- soak -->\nold\n<!-- end of soak -->\nbetween\n<!-- fuzz -->\n<!-- end of fuzz -->\nafter\n"


def test_the_page_is_what_the_script_makes_of_the_kept_results():
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.page(text, *page.read()) == text, "run python -m soak.page"


def test_tables_take_the_place_between_their_marks():
    results = {
        "runs": {"date": "2026-01-02", "seconds": 1147.0, "versions": {"torch": "2.13"}, "figures": {"summary": "a|b"}},
        "other": {"figures": {"kills": 1200, "same": True, "share": 0.12345, "list": ["x"] * 99, "parts": {"a": 1}}},
    }
    reader = {"executions": 1000, "cpu_seconds": 120.0, "corpus": 5, "mended": {"a": "b"}, "open": []}
    made = page.page(TEXT, results, {"readers": {"idx": reader, "npy": reader}})
    assert "old" not in made
    assert "a\\|b | `python -m soak runs` | 2026-01-02, 19 min, torch 2.13 |" in made
    assert "kills: 1,200; same: yes; share: 0.1235; list: " in made
    assert "parts" not in made
    assert "| idx | 1,000 | 2 | 5 | 1 | 0 |" in made
    assert "| all | 2,000 | 4 |  | 2 | 0 |" in made
    assert page.page(made, results, {"readers": {"idx": reader, "npy": reader}}) == made
    assert made.startswith("before\n<!-- soak -->\n|")
    with pytest.raises(ValueError, match="should hold <!-- soak -->"):
        page.page("nothing", {}, {})


def test_every_kept_result_is_of_an_experiment_that_can_be_started():
    assert {"kills", "runs", "forecast"} <= set(command.names())
    for path in page.RESULTS.glob("*.json"):
        assert path.stem in command.names()
        found = json.loads(path.read_text())
        assert {"command", "date", "versions", "figures"} <= set(found)


def test_memory_that_grows_is_found():
    from soak.runs import bounded, grown

    def sampled(slope):
        return [(done, {"memory": 500_000 + slope * done, "files": 9, "threads": 3, "children": 0})
                for done in range(0, 501, 5)]  # fmt: skip

    assert grown(sampled(7.0), 500)["memory"]["a run"] == pytest.approx(7.0)
    bounded({"worker": grown(sampled(7.0), 500)}, 500)
    with pytest.raises(AssertionError, match=r"memory of the worker grows by 30\.0 kB a run"):
        bounded({"worker": grown(sampled(30.0), 500)}, 500)
    leaking = [(done, {"memory": 1, "files": 9 + done // 50, "threads": 3, "children": 0}) for done in range(500)]
    with pytest.raises(AssertionError, match="files of the driver grow"):
        bounded({"driver": grown(leaking, 500)}, 500)
