"""The terminal: fits its width, says what the page says, and reads nothing as markup."""

import io
import subprocess
import sys

import pytest
from rich.cells import cell_len
from rich.console import Console

from uncollapse.report.diagnosis import to_rich, to_text


@pytest.mark.parametrize("width", [80, 100, 140])
@pytest.mark.parametrize("word", ["healthy", "partial collapse", "off-prior collapse"])
def test_it_fits(diagnosis, width, word):
    result = diagnosis(word=word, count=0, budget="full")
    result["metrics"]["a_metric_of_somebody_else_with_a_long_name"] = {"value": 1e9, "flags": ["x" * 60]}
    text = to_text(result, width)
    assert "…" not in text  # wrapped, never cut
    lines = text.splitlines()
    assert max(cell_len(line) for line in lines) <= width


def test_it_says_what_matters(diagnosis):
    result = diagnosis(count=0)
    result |= {"contradictions": ["32 units look active, but information is nil."], "saturated": True}
    text = to_text(result, 200)
    assert text.startswith("◐ partial collapse: " + result["verdict"]["sentence"])
    assert f"{result['metrics']['mi_lower']['value']:.2f}  0.03" in text
    assert "1. KL weight too large: The loss weighs" in text
    for advice in result["advice"]:
        assert all(line in text for line in advice["code"].splitlines())
        assert advice["page"] in text
    assert "Contradictions\n- 32 units look active" in text
    assert "● carries 7, ○ dead 25" in text
    assert "the lower bound has reached it" in text
    assert "Tests of causes: 2 found, 9 clear, 2 untested." in text


def test_causes_come_before_contradictions(diagnosis):
    result = diagnosis(count=0) | {"contradictions": ["They disagree."]}
    text = to_text(result)
    assert (
        text.index("Evidence")
        < text.index("1. KL weight")
        < text.index("2. more latents")
        < text.index("They disagree")
    )


def test_nothing_is_read_as_markup(diagnosis):
    result = diagnosis(count=0)
    result["verdict"]["sentence"] = "[red]not red[/red] :smile: [/]"
    result["remarks"] = ["[bold]x[/bold]"]
    result["advice"][0]["code"] = "x[0] = y[/1]"
    text = to_text(result)
    for piece in (result["verdict"]["sentence"], "[bold]x[/bold]", "x[0] = y[/1]"):
        assert piece in text


def test_colour_where_there_is_a_terminal_and_none_in_text(diagnosis):
    result = diagnosis(word="collapsed", count=0)
    console = Console(width=80, force_terminal=True, color_system="standard", record=True, file=io.StringIO())
    console.print(to_rich(result))
    assert "\x1b[1;31mcollapsed" in console.export_text(styles=True)
    assert "\x1b" not in to_text(result)


def test_holes(diagnosis):
    assert to_text({}).startswith("? undetermined")
    result = diagnosis(count=0)
    result["metrics"]["kl"] = {"value": float("nan"), "se": None, "n": None, "flags": None}
    result |= {"latents": None, "tests": None, "ceiling": None}
    text = to_text(result)
    assert "nan" not in text
    assert "None" not in text


def test_importing_loads_no_plots_and_no_templates():
    code = "import sys, uncollapse.report.diagnosis; assert not {'matplotlib', 'jinja2', 'rich'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
