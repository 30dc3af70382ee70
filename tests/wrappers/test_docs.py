"""Every wrapper has a page that says what a reader needs; its example runs with those of the remedies."""

import inspect
from pathlib import Path

import pytest

from uncollapse import wrappers
from uncollapse.objective import snake

WRAPPERS = [name for name in wrappers.__all__ if inspect.isclass(getattr(wrappers, name)) and name != "Wrapper"]
PAGES = Path(__file__).parents[2] / "docs" / "remedies"


@pytest.mark.parametrize("name", WRAPPERS)
def test_page_says_what_a_reader_needs(name):
    text = (PAGES / f"{snake(name).replace('_', '-')}.md").read_text()
    for part in ("$$", "| symbol |", "**Helps**", "**Harms**", "**Costs**", "**Source.**"):
        assert part in text
    assert f"`{name}`" in (PAGES / "index.md").read_text()
