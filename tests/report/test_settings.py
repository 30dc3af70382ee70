import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from uncollapse.report.settings import differing, shared, to_yaml

words = st.sampled_from(["", "no", "1e-3", "a: b", "é\n"])
leaves = st.one_of(
    st.integers(),
    st.booleans(),
    st.sampled_from(["", "no", "1e-3", "a: b", "é\n"]),
    st.lists(st.integers(), max_size=2),
    st.none(),
)
trees = st.recursive(leaves, lambda x: st.dictionaries(st.sampled_from("abcd"), x, max_size=3), max_leaves=8)
runs = st.lists(st.dictionaries(st.sampled_from("abcd"), trees, max_size=4), min_size=1, max_size=3)


def merge(a, b):
    return {
        key: merge(a[key], b[key]) if key in a and key in b else a.get(key, b.get(key)) for key in a.keys() | b.keys()
    }


@settings(deadline=None)
@given(runs)
def test_shared_and_own_settings_are_the_settings(found):
    for run, own in zip(found, differing(found), strict=True):
        assert merge(shared(found), own) == run


@settings(deadline=None)
@given(runs)
def test_yaml_reads_back(found):
    assert (yaml.safe_load(to_yaml(found[0])) or {}) == found[0]


def test_only_what_differs_is_left():
    found = [{"fit": {"lr": 1, "steps": 2}, "remedies": []}, {"fit": {"lr": 1, "steps": 2}, "remedies": ["Beta"]}]
    assert shared(found) == {"fit": {"lr": 1, "steps": 2}}
    assert differing(found) == [{"remedies": []}, {"remedies": ["Beta"]}]
