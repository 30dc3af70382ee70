import json

import pytest

from uncollapse.diagnosis.examining import TESTS, ranked
from uncollapse.diagnosis.finding import CAUSES, Finding, clear, found, untested
from uncollapse.errors import BadInput


def test_every_cause_has_a_test():
    assert set(TESTS) == set(CAUSES)


def test_unknown_causes_and_states_are_refused():
    with pytest.raises(BadInput, match="cause"):
        found("bad luck", "?")
    with pytest.raises(BadInput, match="state"):
        Finding("prior hole", "perhaps", "?")


def test_upstream_causes_come_first():
    few, hole, flat = (
        found("too few examples", "a"),
        found("prior hole", "b"),
        found("non-identifiable directions", "c"),
    )
    rest = [clear("inference lag", "d"), untested("batch statistics", "e")]
    assert ranked([rest[1], flat, hole, rest[0], few]) == [few, hole, flat, *rest]


def test_numbers_that_are_not_finite_become_null():
    one = found("prior hole", "a", distance=float("inf"), share=0.5)
    assert json.loads(json.dumps(one.to_dict(), allow_nan=False))["numbers"] == {"distance": None, "share": 0.5}
