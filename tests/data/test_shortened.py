import pytest
import torch

from uncollapse.data import load
from uncollapse.errors import BadInput


def test_the_first_test_examples_are_kept_as_they_are():
    whole, short = load("digits", seed=3), load("digits", seed=3, test=50)
    assert [len(part) for part in short.parts.values()] == [1257, 180, 50]
    assert torch.equal(short.test.tensor(), whole.test.tensor()[:50])
    assert torch.equal(short.test.y, whole.test.y[:50])
    assert short.fingerprint != whole.fingerprint


@pytest.mark.parametrize("test", [1, 361, 2.5, True])
def test_a_test_part_that_cannot_be_is_refused(test):
    with pytest.raises(BadInput, match="test should be a whole number from 2 to the 360 test examples"):
        load("digits", test=test)
