"""Every remedy has a page, and what stands on it runs."""

import re
from pathlib import Path

import pytest

from uncollapse import remedies
from uncollapse.objective import snake

PAGES = Path(__file__).parents[2] / "docs" / "remedies"


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.name)
def test_examples_run(page):
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.S | re.M)
    assert blocks
    for block in blocks:
        exec(compile(block, page.name, "exec"), {"__name__": page.stem})


@pytest.mark.parametrize("name", [name for name in remedies.__all__ if name not in {"Remedy", "Inner"}])
def test_page_says_what_a_reader_needs(name):
    text = (PAGES / f"{snake(name).replace('_', '-')}.md").read_text()
    for part in ("$$", "| symbol |", "**Helps**", "**Harms**", "**Costs**", "**Source.**"):
        assert part in text or (name == "FreeBits" and part == "$$")
    assert f"`{name}`" in (PAGES / "index.md").read_text()
