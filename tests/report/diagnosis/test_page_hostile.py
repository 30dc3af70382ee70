"""Whatever stands in the data stays text, and whatever is missing leaves a whole page."""

import copy
import math
import re

import pytest

from uncollapse.report.diagnosis import build
from uncollapse.report.document import TEMPLATES

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>`{{ 7 * 7 }}"


def spoil(result, field):
    """Put the hostile text into one field; return where it has to be read in the end."""
    put = {
        "name": lambda: result.update(name=EVIL),
        "class": lambda: result["model"].update({"class": EVIL, "kind": EVIL, "prior": EVIL, "likelihood": EVIL}),
        "group": lambda: result["latents"][0].update(group=EVIL, word=EVIL),
        "span": lambda: result["model"].update(groups={EVIL: [0, 3], "b": [3, 6]}),
        "label": lambda: (result["local"]["label"].__setitem__(0, EVIL), result["classes"][0].update(label=EVIL)),
        "word": lambda: result["verdict"].update(word=EVIL),
        "verdict": lambda: result["verdict"].update(sentence=EVIL, reasons=[EVIL], borderline=EVIL),
        "notes": lambda: result.update(remarks=[EVIL], contradictions=[EVIL]),
        "test": lambda: result["tests"][0].update(cause=EVIL, sentence=EVIL, state=EVIL, numbers={EVIL: 1.0}),
        "advice": lambda: result["advice"][0].update(title=EVIL, code=EVIL, why=EVIL, cost=EVIL, page=EVIL),
        "metric": lambda: result["metrics"].update({EVIL: {"value": 1.0, "unit": EVIL, "flags": [EVIL]}}),
        "versions": lambda: result.update(versions={EVIL: EVIL}, command=EVIL, budget=EVIL),
    }  # fmt: skip
    put[field]()
    return result


@pytest.mark.parametrize(
    "field",
    ["name", "class", "group", "span", "label", "word", "verdict", "notes", "test", "advice", "metric", "versions"],
)
def test_nothing_in_the_data_becomes_markup(diagnosis, field, read):
    text = build(spoil(diagnosis(count=40, size=6), field))
    seen = read(text)
    assert len(seen.scripts) == 1
    assert seen.scripts[0] == (TEMPLATES / "diagnosis.js").read_text()
    assert "onerror" not in {name for _, a in seen.tags for name in a}
    assert EVIL in seen.text


def without(result, *path):
    """The result with one of its values gone."""
    result = copy.deepcopy(result)
    at = result
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = None
    return result


KEYS = ("verdict", "metrics", "ceiling", "latents", "tests", "causes", "advice", "contradictions", "remarks", "local")
NESTED = [("metrics", "mi_lower"), ("metrics", "kl", "value"),
          ("local", "map"), ("local", "epsilon"), ("local", "label"),
          ("local", "information"), ("local", "tau"), ("local", "map_share"), ("model", "latents"), ("data", "n"),
          ("verdict", "sentence"), ("latents", 0, "variance"), ("latents", 1, "information")]  # fmt: skip


@pytest.mark.parametrize("path", [*((key,) for key in KEYS), *NESTED], ids=str)
def test_what_is_missing_leaves_a_whole_page(diagnosis, path, read):
    seen = read(build(without(diagnosis(count=20, size=4, images=False), *path)))
    assert "None" not in seen.text
    assert not re.search(r"\bnan\b|\binf\b", seen.text)


def test_numbers_that_are_none(diagnosis, read):
    result = diagnosis(count=30, size=5)
    for latent in result["latents"][:3]:
        latent |= {"kl": math.nan, "information": math.inf, "mismatch": None, "variance": -math.inf, "mean": None}
    result["metrics"]["kl"] = {"value": math.nan, "se": math.inf, "n": None, "unit": None, "flags": None}
    result["local"] |= {"collapsed_share": math.nan, "map_share": math.inf}
    result["local"]["map"][3], result["local"]["information"][4], result["local"]["kl"][5] = (
        [math.nan, 0.0],
        None,
        math.nan,
    )
    result["classes"][0] |= {"information": math.nan, "kl": None, "collapsed_share": None, "n": None}
    result["tests"][0]["numbers"] = {"effective_beta": math.inf, "other": None}
    text = build(result)
    assert not re.search(r"\bnan\b|\binf\b|NaN|Infinity|None", read(text).text)
    assert not re.search(r'="[^"]*\b(nan|inf)\b', text)
    assert len([a for a in read(text).all("circle") if "data-r" in a]) == 29 + 29


def test_an_empty_result_is_a_page(read):
    seen = read(build({}))
    assert "undetermined" in seen.text
    assert "The bracket of the information was not measured." in seen.text
