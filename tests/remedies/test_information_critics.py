"""What binary critics and critics on the model side do to information, on either side, over a whole set.

With the decoder's noise at standard deviation 2 the best plain VAE is a collapsed one: I_q = I_p = 0.
"""

from functools import cache
from typing import NamedTuple

import pytest
import torch

from uncollapse import Objective, draw
from uncollapse.functional import log_mean_exp
from uncollapse.remedies import HybridCritic, NeuralCritic, SelfCritic
from uncollapse.testing import Prototypes, ToyModel

MODEL = {"side": "model"}
REMEDIES = {
    "none": lambda: [],
    "self": lambda: [SelfCritic(5.0)],
    "self, binary, same weight": lambda: [SelfCritic(5.0, kind="binary")],
    "self, binary": lambda: [SelfCritic(20.0, kind="binary")],
    "neural, binary": lambda: [NeuralCritic((16,), 4, weight=20.0, kind="binary")],
    "hybrid, binary": lambda: [HybridCritic(32, 4, weight=20.0, kind="binary")],
    "self, model": lambda: [SelfCritic(5.0, **MODEL)],
    "self, model, binary": lambda: [SelfCritic(10.0, kind="binary", **MODEL)],
    "neural, model": lambda: [NeuralCritic((16,), 4, weight=5.0, **MODEL)],
    "hybrid, model": lambda: [HybridCritic(32, 4, weight=5.0, **MODEL)],
    "self, both": lambda: [SelfCritic(5.0), SelfCritic(5.0, **MODEL)],
    "self, straight through": lambda: [SelfCritic(5.0, gradient="straight_through", **MODEL)],
    "self, detached": lambda: [SelfCritic(5.0, gradient="detached", **MODEL)],
}


class Found(NamedTuple):
    """Lower bounds of both informations over 1,000 pairs, and the mean KL, nats."""

    codes: float
    model: float
    kl: float


def bound(log_prob, values):
    """Mean log density of every value under its own distribution, over that under the mean of all, nats."""
    scores = torch.stack([log_prob(value) for value in values])
    return (scores.diag() - log_mean_exp(scores, 1)).mean().item()


@cache
def trained(name, scale=2.0, steps=200, batch=64):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, objective = ToyModel(scale=scale), Objective(REMEDIES[name]())
        x = Prototypes().sample(1000, seed=1)[0]
        optimiser = torch.optim.Adam([*model.parameters(), *objective.parameters()], lr=5e-3)
        for _ in range(steps):
            terms = objective.of(model, x[torch.randint(len(x), (batch,))])
            optimiser.zero_grad()
            sum(term.mean() for term in terms.values()).backward()
            optimiser.step()
            objective.after_step(model)
        with torch.no_grad():
            one, px = draw(model, x), model.likelihood(model.prior().sample((1000,)))
            return Found(bound(one.q.log_prob, one.z[0]), bound(px.log_prob, px.sample()), one.kl.sum(1).mean().item())


def test_plain_vae_collapses_on_both_sides():
    found = trained("none")
    assert abs(found.codes) < 0.05
    assert abs(found.model) < 0.05


@pytest.mark.parametrize("name", ["self, binary", "neural, binary", "hybrid, binary"])
def test_binary_critics_raise_the_information_of_the_codes(name):
    found = trained(name)
    assert 2.0 < found.codes < found.kl


def test_a_binary_critic_needs_a_larger_weight():
    assert 1.5 < trained("self, binary, same weight").codes < trained("self").codes - 1


def test_the_inference_side_leaves_the_models_information_where_it_is():
    assert trained("self").codes > 3
    assert trained("self").model < 0.5


@pytest.mark.parametrize("name", ["self, model", "self, model, binary", "neural, model", "hybrid, model"])
def test_the_model_side_raises_the_models_information_and_not_that_of_the_codes(name):
    found = trained(name)
    assert found.model > 2.5
    assert found.codes < 0.7
    assert found.kl > found.codes + 1  # codes leave the prior, and the data are none the better known


def test_two_critics_raise_both():
    found = trained("self, both")
    assert found.codes > 3
    assert found.model > 3


def test_straight_through_raises_the_information_of_a_binary_model():
    assert trained("self, straight through", scale=None).model > trained("none", scale=None).model + 0.6


def test_detached_pairs_raise_nothing():
    found, plain = trained("self, detached", scale=None), trained("none", scale=None)
    assert found.model < plain.model + 0.2
    assert found.codes < plain.codes + 0.2
