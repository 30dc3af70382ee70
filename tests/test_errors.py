"""Messages quote what strangers chose; they stay one sentence that any terminal and file takes."""

import pickle

import pytest

from uncollapse import errors
from uncollapse.errors import BadInput, UncollapseError, said, spelled

KINDS = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, UncollapseError)]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_commands_a_terminal(kind):
    error = kind("no \x1b[2J\x07\x00\x9b31m\u202e\udcff column\nsecond line\tend")
    words = str(error)
    assert words == "no \\x1b[2J\\x07\\x00\\x9b31m\\u202e\\udcff column\nsecond line\tend"
    words.encode("utf-8")
    assert str(pickle.loads(pickle.dumps(error))) == words


def test_long_names_are_cut_in_the_middle():
    words = str(BadInput(f"column {'x' * 10**6} is unknown; try another"))
    assert len(words) < 4100
    assert words.startswith("column xxx")
    assert words.endswith("is unknown; try another")


def test_what_others_say():
    assert said(ValueError("first\nsecond")) == "first"
    assert said(ValueError()) == "ValueError"
    assert said(ValueError("\n \n")) == "ValueError"
    assert len(said(ValueError("x" * 10**6))) == 300
    assert spelled("Grüße, 中文, 🙂") == "Grüße, 中文, 🙂"
