"""The interface carries what is yet to come: a momentum encoder with a queue and a second view, an inner loop."""

import copy

import pytest
import torch
import torch.nn.functional as F

from uncollapse import Codes, fit
from uncollapse.distributions import gaussian
from uncollapse.functional import info_nce
from uncollapse.objective import Objective
from uncollapse.remedies import Remedy, SelfCritic
from uncollapse.testing import Prototypes, ToyModel, check_remedy
from uncollapse.testing.bench import Training


def noisy(x):
    return torch.where(torch.rand_like(x) < 0.1, 1 - x, x)


class Momentum(Remedy):
    """A slowly moving key encoder sees a second view; a queue holds keys of earlier batches."""

    draws_noise = True

    def __init__(self, encoder, latent, size=24, momentum=0.9, weight=1.0):
        super().__init__(weight)
        self.key = copy.deepcopy(encoder).requires_grad_(False)
        self.register_buffer("queue", F.normalize(torch.randn(size, latent), dim=1))
        self.momentum = momentum
        self._handed = None

    def term(self, draw, model):
        with torch.no_grad():
            keys = F.normalize(gaussian(self.key(noisy(draw.x))).mean, dim=1)
        if self.training and torch.is_grad_enabled():
            self._handed = keys
        return info_nce(F.normalize(draw.z[0], dim=1) @ torch.cat([keys, self.queue]).T / 0.2)

    @torch.no_grad()
    def after_step(self, model):
        super().after_step(model)
        theirs = model.encoder.state_dict()
        for name, mine in self.key.state_dict().items():
            mine.lerp_(theirs[name], 1 - self.momentum)
        if self._handed is not None:
            self.queue = torch.cat([self._handed, self.queue])[: len(self.queue)].detach()
            self._handed = None


class Lagging(Remedy):
    """Trains the encoder alone ahead of every step, for a while."""

    def __init__(self, until=4, inner=2):
        super().__init__()
        self.until, self.inner = until, inner
        self.register_buffer("active", torch.tensor(True))

    def before_step(self, inner):
        if not self.active:
            return frozenset()
        for _ in range(self.inner):
            inner.step(inner.loss(inner.batch()), "encoder")
        return frozenset({"encoder"})

    def after_step(self, model):
        super().after_step(model)
        self.active.fill_(self.step < self.until)


@pytest.fixture
def x():
    return Prototypes().sample(12)[0]


def test_momentum_encoder_keeps_the_contract(x):
    torch.manual_seed(0)
    model = ToyModel()
    check_remedy(Momentum(model.encoder, 4), model, x, steps=4)


def test_inner_loop_keeps_the_contract(x):
    check_remedy(Lagging(), ToyModel(), x, steps=4)


def test_momentum_encoder_follows_the_encoder_only_in_after_step(x):
    torch.manual_seed(0)
    model = ToyModel()
    remedy = Momentum(model.encoder, 4)
    start = {name: value.clone() for name, value in remedy.key.state_dict().items()}
    Training(model, remedy, x).run(0, 5)
    for name, mine in remedy.key.state_dict().items():
        assert not torch.equal(mine, start[name])
        assert not torch.equal(mine, model.encoder.state_dict()[name])


def test_queue_raises_the_number_of_candidates(x):
    model = ToyModel()
    remedy = Momentum(model.encoder, 4, size=24)
    before = remedy.queue.clone()
    Training(model, remedy, x).run(0, 1)
    assert torch.equal(remedy.queue[12:], before[:12])
    assert not torch.equal(remedy.queue[:12], before[:12])


def test_inner_loop_moves_the_encoder_alone(x):
    torch.manual_seed(0)
    model = ToyModel()
    training = Training(model, Lagging(until=3), x)
    seen = []
    for step in range(4):
        before = copy.deepcopy(model.state_dict())
        frozen = training.objective.before_step(training)
        moved = {
            name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])
        }
        seen.append((frozen, moved))
        training.run(step, step + 1)
    assert seen[0] == (frozenset({"encoder"}), {"encoder"})
    assert seen[3] == (frozenset(), set())


@pytest.mark.parametrize("kind", ["momentum", "lagging"])
def test_they_run_in_the_training_loop(kind):
    torch.manual_seed(0)
    model, data = ToyModel(), Prototypes().sample(128)[0]
    remedy = Momentum(model.encoder, 4) if kind == "momentum" else Lagging()
    done = fit(model, data, Objective([remedy, SelfCritic(2.0)]), batches=8, batch_size=16)
    assert done.steps == 8
    assert remedy.step == 8
    assert Codes.of(model, data).mean.isfinite().all()
