import math

import pytest
import torch
from torch import nn

from uncollapse import Objective, draw
from uncollapse.errors import BadInput
from uncollapse.objective import snake, unique
from uncollapse.remedies import Anneal, Beta, FreeBits, NeuralCritic, Remedy, SelfCritic
from uncollapse.schedules import Linear
from uncollapse.testing import Prototypes, ToyModel


@pytest.fixture
def model():
    torch.manual_seed(0)
    return ToyModel()


@pytest.fixture
def one(model):
    return draw(model, Prototypes().sample(6)[0], samples=2)


class Ones(Remedy):
    def term(self, draw, model):
        return torch.ones_like(draw.log_px[0])


class Freezes(Remedy):
    def __init__(self, *parts):
        super().__init__()
        self.parts = parts

    def before_step(self, inner):
        return frozenset(self.parts)


def test_plain_objective_is_the_negative_elbo(one, model):
    terms = Objective()(one, model)
    assert list(terms) == ["distortion", "rate"]
    torch.testing.assert_close(sum(terms.values()), -one.elbo)


def test_terms_are_named_and_per_example(one, model):
    terms = Objective([Beta(0.5), SelfCritic(20.0), NeuralCritic((16,), 4)])(one, model)
    assert list(terms) == ["distortion", "rate", "self_critic", "neural_critic"]
    assert all(term.shape == (6,) for term in terms.values())
    torch.testing.assert_close(terms["rate"], 0.5 * one.kl.sum(1))
    torch.testing.assert_close(terms["self_critic"], 20 * SelfCritic().term(one, model))


def test_names():
    assert [snake(name) for name in ("SelfCritic", "MMD", "FreeBits", "Beta")] == [
        "self_critic",
        "mmd",
        "free_bits",
        "beta",
    ]
    assert unique(["a", "b", "a", "a"]) == ["a", "b", "a_2", "a_3"]
    assert unique(["rate", "loss"]) == ["rate_2", "loss_2"]


def test_the_same_remedy_twice_is_two_terms(one, model):
    terms = Objective([Ones(2.0), Ones(3.0)])(one, model)
    assert terms["ones"].tolist() == [2.0] * 6
    assert terms["ones_2"].tolist() == [3.0] * 6


def test_score_compares_moments(one, model):
    objective = Objective([Anneal(over=10), FreeBits(5.0), Ones(Linear(0, 4, over=20))])
    start = objective.score(one, model)
    floor = (one.kl.clamp_min(5.0) - one.kl).sum(1)
    torch.testing.assert_close(start, -one.elbo + floor + 4)
    for _ in range(7):
        objective.after_step(model)
    torch.testing.assert_close(objective.score(one, model), start)
    assert objective(one, model)["ones"][0].item() == pytest.approx(1.4)


def test_arrival_and_weights():
    objective = Objective([Anneal(over=10), Ones(Linear(0, 4, over=20))])
    assert objective.arrives == 20
    assert objective.weights() == {"anneal": 0.0, "ones": 0.0}
    for _ in range(5):
        objective.after_step(None)
    assert objective.weights() == {"anneal": 0.5, "ones": 1.0}
    assert Objective().arrives == 0


def test_frozen_parts_are_united():
    assert Objective([Freezes("encoder"), Ones(), Freezes("decoder")]).before_step(None) == {"encoder", "decoder"}
    assert Objective().before_step(None) == frozenset()


def test_after_step_moves_without_gradients():
    class Watches(Remedy):
        def after_step(self, model):
            super().after_step(model)
            assert not torch.is_grad_enabled()

    objective = Objective([Watches()])
    objective.after_step(None)
    assert objective.members()[0][1].step == 1


def test_state_dict_carries_counters_and_parameters():
    objective = Objective([Anneal(over=10), NeuralCritic((16,), 4)])
    for _ in range(4):
        objective.after_step(None)
    other = Objective([Anneal(over=10), NeuralCritic((16,), 4)])
    other.load_state_dict(objective.state_dict())
    assert other.weights() == objective.weights()
    assert all(torch.equal(a, b) for a, b in zip(objective.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("wrong", [SelfCritic, nn.Linear(2, 2), "SelfCritic", None])
def test_anything_else_is_refused(wrong):
    with pytest.raises(BadInput, match="list of remedies"):
        Objective([wrong])


def test_bounds_are_ceilings_minus_mean_terms():
    objective = Objective([SelfCritic(4.0), Beta(0.5)])
    assert objective.bounds({"self_critic": 6.0, "rate": 1.0}, 64) == {"self_critic": math.log(64) - 1.5}
    assert objective.bounds({}, 64) == {}
    assert Objective([SelfCritic(0.0)]).bounds({"self_critic": 0.0}, 64) == {}


def test_score_is_what_is_minimised_in_the_end(one, model):
    torch.testing.assert_close(Objective([Beta(0.5)]).score(one, model), -one.log_px.mean(0) + 0.5 * one.kl.sum(1))
    torch.testing.assert_close(Objective([Anneal(over=10)]).score(one, model), -one.elbo)
