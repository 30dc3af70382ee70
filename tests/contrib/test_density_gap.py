import math

import pytest
import torch

from uncollapse import Objective, draw
from uncollapse.contrib import DensityGap
from uncollapse.errors import BadInput
from uncollapse.functional import log_mean_exp, pairwise_log_prob
from uncollapse.testing import Prototypes, ToyModel, check_remedy


def test_contract():
    check_remedy(DensityGap())


def density(z, mean, scale):
    return math.exp(-0.5 * ((z - mean) / scale) ** 2) / (scale * math.sqrt(2 * math.pi))


def test_formula_against_loops():
    torch.manual_seed(0)
    one = draw(ToyModel(), Prototypes().sample(5)[0])
    mean, scale = one.q.base_dist.loc.detach(), one.q.base_dist.scale.detach()
    torch.manual_seed(1)
    found = DensityGap(samples=3).term(one, None)
    torch.manual_seed(1)
    noise = torch.randn(3, 5, 4)
    for i in range(5):
        expected = 0.0
        for m in range(3):
            for j in range(4):
                z = float(mean[i, j] + scale[i, j] * noise[m, i, j])
                aggregate = sum(density(z, float(mean[k, j]), float(scale[k, j])) for k in range(5)) / 5
                expected += (math.log(aggregate) - math.log(density(z, 0.0, 1.0))) / 3
        assert found[i].item() == pytest.approx(expected, abs=1e-4)


def constant(mean):
    """An encoder that answers N(mean, I) for every input."""
    model = ToyModel()
    with torch.no_grad():
        model.encoder.head.weight.zero_()
        model.encoder.head.bias.copy_(torch.tensor([mean] * 4 + [0.0] * 4))
    return draw(model, Prototypes().sample(200)[0])


def test_known_cases():
    torch.manual_seed(0)
    assert torch.allclose(DensityGap().term(constant(0.0), None), torch.zeros(200), atol=1e-5)
    assert DensityGap().term(constant(2.0), None).mean().item() == pytest.approx(4 * 2.0**2 / 2, rel=0.05)


def information(remedies):
    """Over 1,000 images, nats, after 300 steps with a decoder too noisy to be worth a latent."""
    torch.manual_seed(0)
    model, objective, x = ToyModel(scale=2.0), Objective(remedies), Prototypes().sample(1000, seed=1)[0]
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(300):
        terms = objective(draw(model, x[torch.randint(len(x), (64,))]), model)
        optimiser.zero_grad()
        sum(term.mean() for term in terms.values()).backward()
        optimiser.step()
        objective.after_step(model)
    with torch.no_grad():
        one = draw(model, x)
        scores = pairwise_log_prob(one.z[0], one.q.base_dist.loc, one.q.base_dist.scale)
        return (scores.diag() - log_mean_exp(scores, 1)).mean().item()


def test_it_raises_information():
    assert information([]) < 0.05
    assert information([DensityGap()]) > 1.5


def test_bad_arguments():
    with pytest.raises(BadInput, match="positive whole number"):
        DensityGap(samples=0)
