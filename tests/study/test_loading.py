"""YAML of strangers: bombs, loops, depth and what is no setting, each refused in a sentence and in no time."""

import time

import pytest

from uncollapse.errors import BadInput
from uncollapse.study.config import load_study, parse
from uncollapse.study.loading import loaded
from uncollapse.study.spec import Run, Study

LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
HOSTILE = {
    "laughs": (LAUGHS, "stands for more than 100000 values"),
    "loop": ("a: &a [*a]", "stands for something that holds it"),
    "deep": ("[" * 5000, "nested at most 60 deep"),
    "deep-but-closed": ("[" * 100 + "]" * 100, "nested at most 60 deep"),
    "list-as-key": ("? [a]\n: b", ":1: a key should be a word or a number"),
    "date": ("data: 2001-99-99", "month must be in"),
    "number": ("seed: " + "9" * 5000, "4300 digits"),
    "code": ("a: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
    "zero": ("\x00", "special characters are not allowed"),
    "twice": ("name: a\nname: b", ":2: the key 'name' is given twice"),
    "two": ("a: b\n---\nc: d", "another document"),
    "long": ("x" * 2**21, "at most 1048576 characters"),
    "kind": ("a: !!int x", "invalid literal"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("kind", [Study, Run])
def test_hostile_settings(name, kind):
    text, words = HOSTILE[name]
    started = time.process_time()
    with pytest.raises(BadInput, match=words):
        parse(kind, text, "study.yaml")
    assert time.process_time() - started < 5


def test_aliases_that_mean_well(tmp_path):
    tree, value = loaded("a: &a {lr: 1e-3}\nb: *a", "x")
    assert value == {"a": {"lr": 0.001}, "b": {"lr": 0.001}}
    assert tree is not None
    path = tmp_path / "study.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="cannot read"):
        load_study(path)
    with pytest.raises(BadInput, match="cannot read"):
        load_study(tmp_path)
