"""Remedies are judged by the information in the latent over a whole set, not by their own loss.

The decoder's noise (standard deviation 2, largest spread of the data 0.6) makes the collapsed model the best plain VAE.
"""

import math
from functools import cache

import pytest
import torch

from uncollapse import Objective, draw
from uncollapse.functional import log_mean_exp, pairwise_log_prob
from uncollapse.remedies import Beta, Capacity, FreeBits, HybridCritic, NeuralCritic, SelfCritic
from uncollapse.testing import Prototypes, ToyModel

REMEDIES = {
    "none": lambda: [],
    "self": lambda: [SelfCritic(5.0)],
    "self, over z": lambda: [SelfCritic(5.0, direction="z")],
    "neural": lambda: [NeuralCritic((16,), 4, weight=5.0)],
    "neural, raw temperature": lambda: [NeuralCritic((16,), 4, weight=5.0, temperature="raw")],
    "neural, means": lambda: [NeuralCritic((16,), 4, weight=5.0, compare="mean")],
    "hybrid": lambda: [HybridCritic(32, 4, weight=5.0)],
    "beta": lambda: [Beta(0.05)],
    "free bits": lambda: [FreeBits(1.0)],
    "capacity": lambda: [Capacity(4.0, 10.0)],
}


@cache
def trained(name, steps=300, batch=64):
    """Lower bound of the information over 1,000 images, mean KL and the mean term of the last 50 steps, nats."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, objective = ToyModel(scale=2.0), Objective(REMEDIES[name]())
        x, losses = Prototypes().sample(1000, seed=1)[0], []
        optimiser = torch.optim.Adam([*model.parameters(), *objective.parameters()], lr=5e-3)
        for _ in range(steps):
            terms = objective(draw(model, x[torch.randint(len(x), (batch,))]), model)
            optimiser.zero_grad()
            sum(term.mean() for term in terms.values()).backward()
            optimiser.step()
            objective.after_step(model)
            losses.append(sum(term.mean().item() for key, term in terms.items() if key not in {"distortion", "rate"}))
        with torch.no_grad():
            one = draw(model, x)
            q = one.q.base_dist
            scores = pairwise_log_prob(one.z[0], q.loc, q.scale)
            information = (scores.diag() - log_mean_exp(scores, 1)).mean().item()
            return information, one.kl.sum(1).mean().item(), sum(losses[-50:]) / 50


def test_plain_vae_collapses():
    information, kl, _ = trained("none")
    assert abs(information) < 0.05
    assert kl < 0.05


@pytest.mark.parametrize("name", ["self", "self, over z", "neural", "hybrid"])
def test_critics_raise_information(name):
    information, kl, _ = trained(name)
    assert information > 3.0
    assert information < kl


def test_raw_temperature_is_weaker():
    assert 2.0 < trained("neural, raw temperature")[0] < trained("neural")[0] - 0.3


def test_a_cosine_of_means_lowers_its_loss_without_information():
    information, _, loss = trained("neural, means")
    assert loss < 5.0 * (math.log(64) - 2.0)  # by its own loss two nats were won
    assert information < 0.5


@pytest.mark.parametrize("name", ["beta", "free bits"])
def test_rates_raise_information(name):
    assert trained(name)[0] > 1.5


def test_a_target_for_the_kl_is_no_target_for_information():
    information, kl, _ = trained("capacity")
    assert kl == pytest.approx(4.0, abs=0.5)
    assert information < 0.5 * kl
