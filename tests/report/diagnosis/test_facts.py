"""What is taken from a result, in which order, and what becomes of holes."""

import math

import pytest

from uncollapse.report.diagnosis import facts
from uncollapse.report.diagnosis.latents import carrying, counts, grouped, latents
from uncollapse.report.diagnosis.words import CLASSES, LATENTS, MEASURES, STATES, TONES
from uncollapse.report.words import MEANINGS


def test_evidence_stands_in_the_order_of_the_definitions(diagnosis):
    result = diagnosis(count=0, budget="full")
    result["metrics"] = dict(reversed(result["metrics"].items())) | {"mine": {"value": 1.0, "unit": "bits"}}
    rows = facts.evidence(result)
    assert [row.measure.key for row in rows] == [*(measure.key for measure in MEASURES), "mine"]
    assert rows[-1].measure.unit == "bits"
    assert rows[0].n == "10,000"
    assert next(row for row in rows if row.measure.key == "active_units").error == ""


def test_every_measure_is_defined_and_every_word_has_a_sign():
    assert all(m.short and m.formula and m.reading for m in MEASURES)
    assert all(facts.sign(word) != "?" for word in [*LATENTS, *CLASSES, *STATES, *(set(MEANINGS) - {"undetermined"})])
    assert set(TONES) <= {*LATENTS, *CLASSES, *STATES, *MEANINGS}


@pytest.mark.parametrize(
    ("lower", "upper", "text"),
    [(1.0, 1.5, "1.00 – 1.50"), (1.5, 1.0, "≈ 1.00 – 1.50"), (0.0, 0.001, "0.00"), (math.nan, 1.0, None)],
)
def test_bracket(lower, upper, text):
    metrics = {"mi_lower": {"value": lower}, "mi_upper": {"value": upper}}
    found = facts.bracket({"metrics": metrics, "ceiling": 5.0})
    assert (found.text if found else None) == text


def test_a_ceiling_of_nothing_is_no_bracket():
    metrics = {"mi_lower": {"value": 0.0}, "mi_upper": {"value": 0.0}}
    assert facts.bracket({"metrics": metrics, "ceiling": 0.0}) is None  # one example: log 1


def test_causes_keep_their_rank_and_take_their_advice(diagnosis):
    result = diagnosis(count=0)
    result["causes"] = list(reversed(result["causes"]))
    found = facts.causes(result)
    assert [cause["cause"] for cause in found] == result["causes"]
    for cause in found:
        (advice,) = cause["advice"]
        assert advice["title"] == next(a["title"] for a in result["advice"] if a["cause"] == cause["cause"])
    assert facts.general(result) == []


def test_a_found_test_is_a_cause_even_if_the_ranking_forgot_it(diagnosis):
    result = diagnosis(count=0)
    result["causes"] = result["causes"][1:]
    assert {cause["cause"] for cause in facts.causes(result)} == {a["cause"] for a in result["advice"]}


def test_advice_without_a_cause_is_kept_apart(diagnosis):
    result = diagnosis(word="healthy", count=0)
    result["advice"] = [{"cause": "other", "title": "Look at the data"}]
    assert [advice["title"] for advice in facts.general(result)] == ["Look at the data"]


def test_counts_follow_the_order_of_the_words(diagnosis):
    found = latents(diagnosis(count=0, size=9, live=4))
    assert counts(found) == {"carries": 4, "dead": 5}
    assert [latent.index for latent in found] == list(range(9))


def test_measured_names_groups_and_what_was_left_out(diagnosis):
    result = diagnosis(count=0)
    result["model"]["groups"] = {"top": [0, 8], "bottom": [8, 32]}
    result["data"]["dropped"] = 3
    told = dict(facts.measured(result))
    assert told["Groups of latents"] == "top 0–7, bottom 8–31"
    assert told["Left out"] == "3 with posteriors that are not finite"
    assert told["Time"] == "6.4 s"
    assert told["Shape of one"] == "1 × 28 × 28"


@pytest.mark.parametrize("nothing", [{}, {"latents": None, "metrics": [], "tests": "x", "causes": None, "verdict": 3}])
def test_nothing_gives_nothing(nothing):
    assert facts.evidence(nothing) == latents(nothing) == facts.tests(nothing) == facts.causes(nothing) == []
    assert facts.word(nothing) == "undetermined"


def test_what_carries_is_what_the_verdict_counts(diagnosis):
    result = diagnosis(count=0, size=6, live=2)
    result["latents"][0] |= {"information": 0.12, "word": "borderline"}
    result["latents"][1]["information"] = None
    found = latents(result)
    assert carrying(found) == sum((x := row["information"]) is not None and x >= 0.1 for row in result["latents"])


def test_groups_add_up(diagnosis):
    result = diagnosis(count=0, size=6)
    assert grouped(latents(result)) == []
    for i, row in enumerate(result["latents"]):
        row["group"] = "ab"[i // 4]
    first, second = grouped(latents(result))
    assert (first["name"], first["size"], second["size"]) == ("a", 4, 2)
    assert first["kl"] + second["kl"] == pytest.approx(sum(row["kl"] for row in result["latents"]))


def test_nothing_is_said_twice():
    found = {
        "verdict": {"sentence": "One example.", "reasons": ["One example.", "More."], "borderline": "Borderline: x."}
    }
    assert facts.reasons(found) == ["More."]
    assert facts.notes(found) == [("Borderline", ["x."])]
