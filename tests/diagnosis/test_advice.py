import ast
from pathlib import Path

import pytest

import uncollapse
from uncollapse.diagnosis.advice import advise, table
from uncollapse.diagnosis.finding import CAUSES, found

ROOT = Path(__file__).parents[2]
ENTRIES = [pytest.param(entry, id=entry["title"]) for entries in table().values() for entry in entries]


def test_every_cause_has_advice():
    assert set(table()) == {*CAUSES, "unexplained"}


@pytest.mark.parametrize("entry", ENTRIES)
def test_advice_is_whole_its_page_exists_and_its_code_is_python(entry):
    assert set(entry) == {"title", "code", "why", "cost", "page"}
    assert entry["page"] is None or (ROOT / entry["page"]).is_file()
    ast.parse(entry["code"].replace("$worth", "3").replace("$used", "3"))


@pytest.mark.parametrize("entry", ENTRIES)
def test_names_of_this_package_in_the_code_exist(entry):
    for node in ast.walk(ast.parse(entry["code"].replace("$worth", "3").replace("$used", "3"))):
        path = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
        if path.startswith("uncollapse."):
            here = uncollapse
            for name in path.split(".")[1:]:
                if not hasattr(here, name):
                    __import__(f"{here.__name__}.{name}")
                here = getattr(here, name)


def test_the_same_lines_are_given_once():
    given = advise([found("autoregressive decoder", "a"), found("decoder ignores z", "b")], "collapsed")
    assert len({one.code for one in given}) == len(given)


def test_numbers_of_the_finding_are_filled_in():
    given = advise([found("more latents than the data support", "a", worth=7.0)], "partial collapse")
    assert given[0].code == "latent = 7"


def test_a_collapse_without_a_cause_still_gets_advice_and_health_none():
    assert "loss=" in advise([], "collapsed")[0].code
    assert advise([], "healthy") == []


def test_the_latents_that_a_decoder_uses_are_filled_in():
    given = advise([found("non-identifiable directions", "a", flat=22.0, used=10.0)], "partial collapse")
    assert given[0].code == "latent = 10"
