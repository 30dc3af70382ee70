"""The model card: everything in Markdown, tables that hold together, nothing that acts as markup."""

import re

import pytest

from uncollapse.report.diagnosis import to_card

EVIL = "<script>alert(1)</script> | `x` **b** [a](http://b) ``` \n# head"


def tables(card):
    return [block.splitlines() for block in card.split("\n\n") if block.startswith("|")]


def test_parts_and_numbers(diagnosis):
    result = diagnosis(count=0, budget="full")
    card = to_card(result)
    heads = re.findall(r"^(##+ .*)$", card, re.M)
    assert heads == [
        "## Posterior collapse",
        "### Evidence",
        "### Causes",
        "### What was tested",
        "### Limits",
        "### How it was measured",
    ]
    assert f"**◐ partial collapse.** {result['verdict']['sentence']}" in card
    assert f"{result['metrics']['mi_lower']['value']:.2f} | 0.03 | 10,000" in card
    assert "Pareto k above 0.7" in card
    assert "log N = 9.21 nats" in card
    assert "torch 2.13.0" in card
    assert result["command"] in card
    assert "   ```python\n   distortion = F" in card


def test_tables_have_as_many_cells_in_every_line(diagnosis):
    result = diagnosis(count=0)
    result["tests"][0]["sentence"] = EVIL
    for table in tables(to_card(result)):
        bars = {len(re.findall(r"(?<!\\)\|", line)) for line in table}
        assert len(bars) == 1


@pytest.mark.parametrize("field", ["remark", "cause", "class", "version", "sentence", "advice", "metric"])
def test_nothing_in_the_data_becomes_markup(diagnosis, field):
    result = diagnosis(count=0)
    {
        "remark": lambda: result.update(remarks=[EVIL]),
        "cause": lambda: (result["causes"].__setitem__(0, EVIL), result["tests"][0].update(cause=EVIL)),
        "class": lambda: result["model"].update({"class": EVIL}),
        "version": lambda: result.update(versions={EVIL: EVIL}),
        "sentence": lambda: result["verdict"].update(sentence=EVIL),
        "advice": lambda: result["advice"][0].update(title=EVIL, cost=EVIL),
        "metric": lambda: result["metrics"].update({EVIL: {"value": 1.0}}),
    }[field]()  # fmt: skip
    card = to_card(result)
    assert "<script" not in card
    assert "\n# head" not in card
    assert not re.search(r"(?<!\\)\]\(http", card)


def test_advice_is_printed_as_it_stands(diagnosis):
    result = diagnosis(count=0)
    result["advice"][0] |= {"title": "Try Decoder(...) first.", "cost": "Time..."}
    assert "Advice: Try Decoder(...) first. Cost: Time...\n" in to_card(result)


def test_code_cannot_break_out_of_its_fence(diagnosis):
    result = diagnosis(count=0)
    result["advice"][0]["code"] = "x = 1\n```\n<b>out</b>\n````"
    result["command"] = "run ``` it"
    card = to_card(result)
    assert "   `````python\n   x = 1\n   ```\n   <b>out</b>\n   ````\n   `````" in card
    assert "````sh\nrun ``` it\n````" in card


def test_saturated_dropped_and_notes_are_limits(diagnosis):
    result = diagnosis(count=0)
    result |= {"saturated": True, "contradictions": ["Two numbers disagree."], "remarks": ["Latents were flattened."]}
    result["data"]["dropped"] = 12
    result["verdict"]["borderline"] = "Nearly a hole."
    limits = to_card(result).split("### Limits")[1].split("###")[0]
    for piece in ("reached that ceiling", "12 examples", "Contradictions: Two", "- Latents were", "Borderline: Nearly"):
        assert piece in limits


def test_an_empty_result_and_holes(diagnosis):
    assert to_card({}).startswith("## Posterior collapse\n\n**? undetermined.**")
    result = diagnosis(count=0)
    result["metrics"]["kl"] = {"value": float("nan"), "se": None, "n": None}
    card = to_card(result)
    assert "| KL to the prior, nats | – | – | – |" in card
    assert "nan" not in card
    assert "None" not in card
