import math

import pytest
import torch

from uncollapse import draw
from uncollapse.errors import BadInput
from uncollapse.testing import Prototypes, ToyModel


def test_patterns_are_equally_far_apart():
    patterns = Prototypes(classes=15).patterns
    gaps = (patterns[:, None] - patterns[None]).abs().sum(2)
    assert gaps.tolist() == (8 * (1 - torch.eye(15))).tolist()


def test_log_prob_by_loops_and_sums_to_one():
    toy = Prototypes(classes=3, flip=0.2)
    x = toy.sample(5)[0]
    for row, value in zip(x, toy.log_prob(x), strict=True):
        p = sum(
            math.prod(0.2 if a != b else 0.8 for a, b in zip(row, pattern, strict=True)) for pattern in toy.patterns
        )
        assert value.item() == pytest.approx(math.log(p / 3))
    every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 16)
    assert toy.log_prob(every).exp().sum().item() == pytest.approx(1.0)


def test_known_answers():
    toy = Prototypes()
    x, labels = toy.sample(20_000)
    assert -toy.log_prob(x).mean().item() == pytest.approx(toy.entropy, abs=0.05)
    assert toy.information == pytest.approx(math.log(10), abs=0.01)
    assert 0 < Prototypes(flip=0.3).information < 1.5
    assert Prototypes(classes=1).information == pytest.approx(0.0, abs=1e-9)
    assert torch.linalg.eigvalsh(torch.cov(x.T))[-1].item() == pytest.approx(0.37, abs=0.03)
    assert (x - toy.patterns[labels]).abs().mean().item() == pytest.approx(0.05, abs=0.002)


def test_samples_follow_the_seed():
    assert torch.equal(Prototypes().sample(8, seed=3)[0], Prototypes().sample(8, seed=3)[0])
    assert not torch.equal(Prototypes().sample(8, seed=3)[0], Prototypes().sample(8, seed=4)[0])


@pytest.mark.parametrize("bad", [{"classes": 0}, {"classes": 16}, {"flip": 0.0}, {"flip": 0.5}])
def test_bad_arguments_are_refused(bad):
    with pytest.raises(BadInput):
        Prototypes(**bad)


@pytest.mark.parametrize("scale", [None, 0.5])
def test_model(scale):
    one = draw(ToyModel(latent=3, scale=scale), Prototypes().sample(5)[0], samples=2)
    assert one.z.shape == (2, 5, 3)
    assert one.log_px.isfinite().all()
    assert ToyModel().encoder.trunk(one.x).shape == (5, ToyModel().features)


def test_no_bernoulli_model_beats_the_entropy():
    torch.manual_seed(0)
    toy, model = Prototypes(), ToyModel()
    x, optimiser = toy.sample(2000)[0], torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(400):
        loss = -model(x[torch.randint(2000, (64,))]).elbo.mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    bound = -model(toy.sample(2000, seed=9)[0]).elbo.mean().item()
    assert toy.entropy - 0.1 < bound < 0.8 * 16 * math.log(2)  # the collapsed model has 16 log 2
