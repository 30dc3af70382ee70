import math
import pickle

import pytest
import torch

from uncollapse import draw
from uncollapse.errors import BadInput
from uncollapse.remedies import Remedy
from uncollapse.remedies.base import shown
from uncollapse.schedules import Constant, Linear
from uncollapse.testing import Prototypes, ToyModel


class Ones(Remedy):
    def term(self, draw, model):
        return torch.ones_like(draw.log_px[0])


def rising(step):
    return 0.5 * step


@pytest.fixture
def one():
    return draw(ToyModel(), Prototypes().sample(3)[0])


def test_forward_weighs_the_term_by_the_schedule(one):
    remedy = Ones(Linear(0, 1, over=4))
    seen = []
    for _ in range(6):
        seen.append(remedy(one, None).tolist())
        remedy.after_step(None)
    assert seen == [[w] * 3 for w in (0, 0.25, 0.5, 0.75, 1, 1)]


def test_defaults_do_nothing(one):
    remedy = Remedy()
    kl = torch.rand(3, 4)
    assert remedy.term(one, None).tolist() == [0, 0, 0]
    assert remedy.rate(kl) is kl
    assert remedy.before_step(None) == frozenset()
    assert remedy.ceiling(64) is None
    assert not remedy.has_term
    assert Ones().has_term


def test_step_counter_travels_in_the_state_dict():
    remedy, other = Ones(), Ones()
    for _ in range(3):
        remedy.after_step(None)
    assert remedy.step == 3
    other.load_state_dict(remedy.state_dict())
    assert other.step == 3
    assert isinstance(other.step, int)
    assert pickle.loads(pickle.dumps(remedy)).step == 3


def test_arrives():
    assert Ones(2.0).arrives == 0
    assert Ones(Linear(0, 1, over=10, delay=5)).arrives == 15
    assert Ones(rising).arrives == 0


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf, True, "big", None])
def test_bad_weights_are_refused(weight):
    with pytest.raises(BadInput):
        Ones(weight)


def test_text_is_the_same_in_every_process():
    assert shown(Constant(20.0)) == "20"
    assert shown(Linear(0, 1, over=4)) == "Linear(start=0, end=1, over=4, delay=0)"
    assert shown(rising).endswith("rising")
    assert " at 0x" not in repr(Ones(rising))
