"""Every page on a metric has a formula, a symbol table, a warning and an example that runs."""

import re
from pathlib import Path

import pytest

from uncollapse import metrics

PAGES = sorted((Path(__file__).parents[2] / "docs" / "metrics").glob("*.md"))
ELSEWHERE = {"density", "coverage", "precision", "recall", "linear_probe", "knn_probe"} | {
    "information_per_example", "local_spectrum",
}  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page(page):
    text = page.read_text()
    examples = re.findall(r"```python\n(.*?)```", text, re.S)
    assert examples
    for example in examples:
        exec(compile(example, str(page), "exec"), {"__name__": page.stem})
    if page.stem != "index":
        assert "$" in text
        assert "| symbol |" in text or "Symbols:" in text
        assert re.search(r"fools|cannot tell|trap", text)


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([a-z-]+\.md)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_metric_has_a_page():
    names = {name for name in metrics.__all__ if name.islower()}
    assert names - ELSEWHERE <= {page.stem.replace("-", "_") for page in PAGES}
