"""What is kept under results/ is what the page says, and what the protocols of this version say."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.reproductions import END, START, kept, table, with_table  # noqa: E402

from uncollapse.protocols import load  # noqa: E402

KEPT = kept()


def test_the_page_has_the_claims_of_the_results():
    page = (ROOT / "docs" / "reproductions.md").read_text()
    assert with_table(page, table()) == page, "run python -m benchmarks.reproductions"


def test_a_changed_result_changes_the_page():
    page = f"before {START} old {END} after"
    assert with_table(page, "new") == f"before {START}\n\nnew\n\n{END} after"


@pytest.mark.parametrize("folder", KEPT)
def test_a_kept_result_is_whole(folder):
    view = KEPT[folder]["view"]
    assert view["command"].startswith("uncollapse study run")
    assert view["seconds"] > 0
    assert view["versions"]["torch"]
    assert all(len(one["fingerprint"]) == 64 for one in view["data"])
    assert all(claim["word"] in {"holds", "does not hold", "cannot be told"} for claim in view["claims"])


@pytest.mark.parametrize("folder", KEPT)
def test_published_numbers_are_those_of_the_protocol(folder):
    name, scale = KEPT[folder]["name"], KEPT[folder]["scale"]
    assert folder == f"{name}-{scale}"
    rows = load(name).published.rows
    for row in KEPT[folder]["view"]["rows"]:
        assert set(row["published"] or {}) == set(rows.get(row["arm"], {}))
