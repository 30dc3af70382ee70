"""What floors under the KL buy: information over a whole set, beside the KL that is paid for it.

The decoder's noise (standard deviation 2, largest spread of the data 0.6) makes the collapsed model the best plain VAE.
"""

from functools import cache

import pytest
import torch

from uncollapse import draw
from uncollapse.functional import log_mean_exp, pairwise_log_prob
from uncollapse.testing import Prototypes, ToyModel
from uncollapse.wrappers import AutoregressivePrior, BatchNormMean, MinimumRate, ScaledMean, Wrapper

WRAPPED = {
    "none": Wrapper,
    "batch norm": BatchNormMean,
    "batch norm, gamma 1.5": lambda model: BatchNormMean(model, 1.5),
    "batch norm, tau 0.9": lambda model: BatchNormMean(model, tau=0.9),
    "minimum rate": lambda model: MinimumRate(model, 0.5),
    "minimum rate, positive": lambda model: MinimumRate(model, 0.5, "positive"),
    "slow prior": lambda model: AutoregressivePrior(model, 4, 0.95),
    "scaled": ScaledMean,
}


@cache
def trained(name, steps=300):
    """Information over 1,000 images, their KL in evaluation, the KL of the last 50 training steps, the model."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x, kls = WRAPPED[name](ToyModel(scale=2.0)), Prototypes().sample(1000, seed=1)[0], []
        optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
        for _ in range(steps):
            one = draw(model, x[torch.randint(len(x), (64,))])
            optimiser.zero_grad()
            (-one.elbo.mean()).backward()
            optimiser.step()
            kls.append(one.kl.sum(1).mean().item())
        model.eval()
        with torch.no_grad():
            one = draw(model, x)
            scores = pairwise_log_prob(one.z[0], one.q.base_dist.loc, one.q.base_dist.scale)
            information = (scores.diag() - log_mean_exp(scores, 1)).mean().item()
            return information, one.kl.sum(1), sum(kls[-50:]) / 50, model


def test_plain_vae_collapses():
    information, kl, _, _ = trained("none")
    assert abs(information) < 0.05
    assert kl.mean() < 0.05


@pytest.mark.parametrize(
    ("name", "least"),
    [("batch norm", 0.6), ("batch norm, gamma 1.5", 1.8), ("batch norm, tau 0.9", 2.8), ("minimum rate", 1.2)],
)
def test_floors_that_tell_inputs_apart(name, least):
    information, kl, in_training, model = trained(name)
    assert least < information < kl.mean()
    assert in_training > 0.99 * model.floor()


@pytest.mark.parametrize(("name", "most"), [("minimum rate, positive", 0.6), ("slow prior", 0.4)])
def test_floors_that_are_met_without_much_information(name, most):
    information, kl, _, model = trained(name)
    assert kl.min() > model.floor() - 1e-3
    assert information < most * kl.mean()


def test_the_signs_of_a_minimum_rate_need_not_be_of_use():
    """Signs of means carry information, but reconstructions hardly gain by it: the floor asks only for a distance."""
    with torch.no_grad():
        x = Prototypes().sample(1000, seed=1)[0]
        torch.manual_seed(0)
        distortion = {name: -draw(trained(name)[3], x).log_px.mean() for name in ("none", "batch norm", "minimum rate")}
    assert distortion["none"] - distortion["batch norm"] > 0.05
    assert distortion["none"] - distortion["minimum rate"] < 0.05


def test_scaled_means_pay_later():
    """The loss in training counts next to no KL; the codes that the decoder receives lie far from the prior."""
    information, kl, in_training, _ = trained("scaled")
    assert information > 1.0
    assert in_training < 0.1
    assert kl.mean() > 2.0
