"""Aggressive training: how many inner steps, when it ends, what moves, and when it helps."""

import copy
import math
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Distribution, Independent, Laplace, constraints

from uncollapse import VAE, Codes, Objective, fit, metrics
from uncollapse.codes import evaluation
from uncollapse.errors import BadInput, NonFinite, Unsupported
from uncollapse.nets import MLPEncoder
from uncollapse.plan import Order, derive, even_pieces
from uncollapse.remedies import Aggressive, Anneal, NeuralCritic
from uncollapse.remedies.lagging import information, words
from uncollapse.testing import Prototypes, ToyModel, check_remedy
from uncollapse.testing.bench import Training

DATA = Prototypes().sample(96, seed=1)[0]


class Script:
    """An inner loop whose losses are written down; it counts what is asked of it."""

    def __init__(self, losses, batch=4):
        self.model, self.x, self.epoch = ToyModel(), torch.rand(batch, 16).round(), 0.0
        self.losses, self.seen, self.steps = iter(losses), [], []

    def batch(self):
        return torch.rand(len(self.x), 16).round()

    def loss(self, x):
        self.seen.append(x)
        return torch.full((len(x),), float(next(self.losses)))

    def step(self, loss, *parts):
        self.steps.append(parts)

    def validation(self):
        yield self.x


def windows(*means, size=10):
    """A window of equal losses for every mean, the last of them for ever."""
    return [mean for mean in means for _ in range(size)] + [means[-1]] * 200


@pytest.mark.parametrize(
    ("means", "steps"),
    [((5.0,), 99), ((5.0, 6.0), 20), ((5.0, 4.0, 4.5), 30), ((5.0, 5.0, 5.1), 30), ((5.0, 4.0, 3.0, 2.0), 99)],
)
def test_the_inner_loop_ends_when_a_window_got_worse(means, steps):
    inner, lagging = Script(windows(*means)), Aggressive()
    assert lagging.before_step(inner) == {"encoder"}
    assert lagging.inner_steps == lagging.total_inner_steps == len(inner.steps) == steps
    assert set(inner.steps) == {("encoder",)}
    assert inner.seen[0] is inner.x  # first on the batch of the main step
    assert all(x is not inner.x for x in inner.seen[1:])


def test_text_looks_every_15_steps_and_counts_words():
    inner, lagging = Script(windows(5.0, 6.0, size=15)), Aggressive("text")
    lagging.before_step(inner)
    assert lagging.inner_steps == 30
    assert words(torch.tensor([[3, 4, 0], [5, 0, 0]])) == 3
    inner = Script(windows(5.0, 6.0, size=15))
    inner.batch = lambda: torch.ones(4, 16 if len(inner.seen) < 15 else 32)  # dearer by the text, cheaper by the word
    lagging.before_step(inner)
    assert lagging.inner_steps > 30


def test_window_and_most_can_be_chosen():
    inner, lagging = Script(windows(5.0)), Aggressive(window=3, most=7)
    for _ in range(2):
        lagging.before_step(inner)
    assert (lagging.inner_steps, lagging.total_inner_steps) == (7, 14)


def test_a_loss_that_is_not_finite_ends_the_run():
    with pytest.raises(NonFinite, match="encoder alone"):
        Aggressive().before_step(Script([1.0, math.nan] * 50))


@pytest.mark.parametrize(
    ("rule", "values", "epochs"),
    [
        ("text", [0.5, 1.0, 1.0, 0.9], 4),
        ("text", [-0.01], 1),  # a collapsed start, measured with noise
        ("images", [1.0, 0.9, 1.1, 1.0, 1.2, 1.1, 1.3, 1.2, 1.4, 1.3], 10),  # never back to 0: one in two counts
        ("images", [1.0, 0.5, 0.6, 0.7, 0.8, 0.9], 6),  # rising, but below the best
        ("images", [1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 3.0, 3.0], None),
    ],
)
def test_the_information_decides_when_it_is_over(rule, values, epochs, monkeypatch):
    script = iter(values)
    monkeypatch.setattr("uncollapse.remedies.lagging.information", lambda model, batches: next(script))
    lagging, inner = Aggressive(rule, window=1, most=1), Script([1.0] * 99)
    lagging.step = 1  # past the check of the first step
    for epoch in range(len(values) + 1):
        frozen = lagging.before_step(_at(inner, epoch))
        assert frozen == ({"encoder"} if epochs is None or epoch < epochs else frozenset())
        assert lagging.before_step(_at(inner, epoch + 0.5)) == frozen  # asked once an epoch
    assert lagging.active == (epochs is None)
    assert lagging.inner_steps == (epochs is None)


def _at(inner, epoch):
    inner.epoch = epoch
    return inner


def test_once_over_it_stays_over():
    lagging, inner = Aggressive("text", window=1, most=1), Script([1.0] * 9)
    lagging.judge(1.0)
    lagging.judge(0.9)
    assert lagging.before_step(_at(inner, 5.0)) == frozenset()
    assert lagging.before_step(_at(inner, 6.0)) == frozenset()
    assert not inner.steps


def test_the_information_is_that_of_the_paper_batch_by_batch():
    model, batches = ToyModel(), DATA.split(32)
    found = information(model, batches)
    total = 0.0
    with evaluation(model, 0):
        for x in batches:
            q = model.posterior(x)
            z = q.sample()
            logs = torch.stack([torch.stack([model.posterior(b[None]).log_prob(a[None])[0] for b in x]) for a in z])
            total += float((-q.entropy() - logs.logsumexp(1) + math.log(len(x))).sum())
    assert found == pytest.approx(total / len(DATA), abs=1e-4)
    assert information(model, batches) == found  # the same noise every time


def test_looking_leaves_modes_and_random_streams_alone():
    model = ToyModel()
    model.decoder.eval()
    before = torch.get_rng_state()
    information(model, [DATA[:8]])
    assert torch.equal(before, torch.get_rng_state())
    assert model.training
    assert not model.decoder.training


@pytest.mark.parametrize("gradients", ["all", "encoder"])
@pytest.mark.parametrize("rule", ["images", "text"])
def test_it_resumes_in_the_middle(rule, gradients):
    check_remedy(lambda: Aggressive(rule, 2, 5, gradients), ToyModel(), DATA[:12], steps=5)


def test_state_survives_to_the_last_bit():
    lagging, twin = Aggressive(), Aggressive()
    for value in (0.1, 1 / 3, 0.2):
        lagging.judge(value)
    lagging.step, lagging.epoch, lagging.total_inner_steps = 7, 3, 2**40
    twin.load_state_dict(lagging.state_dict())
    for name in ("step", "active", "best", "previous", "below", "epoch", "total_inner_steps"):
        assert getattr(twin, name) == getattr(lagging, name)
        assert type(getattr(twin, name)) is type(getattr(lagging, name))


def test_the_encoder_alone_moves_ahead_of_the_step_and_rests_in_it():
    torch.manual_seed(0)
    model, critic = ToyModel(), NeuralCritic((16,), 4)
    training = Training(model, Aggressive(window=2, most=4), DATA[:16])
    training.objective = Objective([*training.objective.remedies, critic])
    training.parts["remedies"] = list(critic.parameters())
    before, theirs = copy.deepcopy(model.state_dict()), copy.deepcopy(critic.state_dict())
    frozen = training.objective.before_step(training)
    moved = {name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert (frozen, moved) == ({"encoder"}, {"encoder"})
    assert all(torch.equal(theirs[name], value) for name, value in critic.state_dict().items())


def slow(model, data, batches, size, lr, rule, best, worse):
    """The published loop, written down once more; returns the number of inner steps and whether it still runs."""
    order = Order(len(data), size, seed=0)
    encoder, decoder = (torch.optim.Adam(part.parameters(), lr) for part in (model.encoder, model.decoder))
    active, previous, total = True, 0.0, 0

    def backward(x, weight):
        q = model.posterior(x)
        z = q.rsample((1,))
        terms = weight * torch.distributions.kl_divergence(q, model.prior()) - model.likelihood(z).log_prob(x)[0]
        encoder.zero_grad()
        decoder.zero_grad()
        terms.mean().backward()
        return terms.sum().item()

    for step in range(batches):
        if active and step and step % order.per_epoch == 0:
            now = information(model, [data[i] for i in even_pieces(len(data), size)])
            worse += now < best
            active = worse < 5 if rule == "images" else now >= previous
            best, previous = max(best, now), now
        torch.manual_seed(derive(0, "noise", step))
        weight, batch, prev, acc, n, s = min(step / 5, 1.0), data[order.indices(step)], 1e4, 0.0, 0, 1
        while active and s < 100:
            acc += backward(batch, weight)
            n += len(batch) if rule == "images" else int(batch.count_nonzero())
            encoder.step()
            total += 1
            batch = data[order.extra(step, s)]
            if s % (10 if rule == "images" else 15) == 0:
                if acc / n > prev:
                    break
                prev, acc, n = acc / n, 0.0, 0
            s += 1
        backward(data[order.indices(step)], weight)
        decoder.step()
        if not active:
            encoder.step()
    return total, active


@pytest.mark.parametrize(("rule", "gradients"), [("images", "all"), ("images", "encoder"), ("text", "encoder")])
def test_it_trains_as_published(rule, gradients):
    torch.manual_seed(0)
    model = ToyModel()
    twin, lagging = copy.deepcopy(model), Aggressive(rule, gradients=gradients)
    lagging.best, lagging.below = 99.0, 3  # images: over after the second epoch
    fit(model, (DATA, DATA), Objective([lagging, Anneal(5)]), batches=8, batch_size=32, keep="last")
    total, active = slow(twin, DATA, 8, 32, 1e-3, rule, best=99.0, worse=3)
    assert (lagging.total_inner_steps, lagging.active) == (total, active)
    assert rule == "text" or not active
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_the_cheap_form_computes_no_gradient_of_the_decoder_and_gives_the_same_weights():
    found = []
    for gradients in ("all", "encoder"):
        torch.manual_seed(0)
        model = ToyModel()
        asked = []
        model.decoder.register_forward_pre_hook(
            lambda module, _, asked=asked: asked.append(next(module.parameters()).requires_grad)
        )
        lagging = Aggressive(window=3, most=6, gradients=gradients)
        fit(model, (DATA, DATA), Objective([lagging]), batches=4, batch_size=32, keep="last", validate_every=99)
        found.append((asked.count(False), lagging.total_inner_steps, list(model.parameters())))
        assert all(parameter.requires_grad for parameter in model.parameters())
    (none, steps, ours), (every, again, theirs) = found
    assert (none, every, again) == (0, steps, steps)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


class Chain(Distribution):
    """16 pixels, each of which sees z and those before it."""

    arg_constraints = {}  # noqa: RUF012
    support = constraints.independent(constraints.boolean, 1)

    def __init__(self, decoder, z):
        self.decoder, self.z = decoder, z
        super().__init__(z.shape[:1], torch.Size((16,)), validate_args=False)

    def log_prob(self, value):
        logits = self.decoder.logits(value, self.z)
        return -F.binary_cross_entropy_with_logits(logits, value, reduction="none").sum(-1)


class Strong(nn.Module):
    """A masked network that can do without z, so that the encoder has to hurry to be of use."""

    def __init__(self, latent=4, hidden=64):
        super().__init__()
        place, degree = torch.arange(16), torch.arange(hidden) * 16 // hidden
        self.register_buffer("before", (place < degree[:, None]).float())
        self.register_buffer("upto", (degree <= place[:, None]).float())
        self.see, self.say = nn.Linear(16, hidden), nn.Linear(hidden, 16)
        self.code = nn.Linear(latent, hidden, bias=False)
        with torch.no_grad():
            self.code.weight.mul_(3)

    def logits(self, x, z):
        seen = F.linear(x, self.see.weight * self.before, self.see.bias) + self.code(z)
        return F.linear(seen.relu(), self.say.weight * self.upto, self.say.bias)

    def forward(self, z):
        return Chain(self, z)


@cache
def trained(kind, aggressive, batches):
    """Bounds of the information, score and inner steps after training on 1,000 images."""
    torch.manual_seed(0)
    x = Prototypes().sample(1000, seed=1)[0]
    if kind == "strong":
        model = VAE(MLPEncoder((16,), 4, hidden=(32,), activation="tanh"), Strong(), 4)
    else:
        model = ToyModel(scale=2.0)
    remedies = [Aggressive(most=20, gradients="encoder")] if aggressive else []
    done = fit(model, (x, x), Objective(remedies), batches=batches, lr=1e-2, keep="last", validate_every=batches)
    bracket = metrics.mutual_information(Codes.of(model, x))
    inner = remedies[0].total_inner_steps if remedies else 0
    return float(bracket.lower), float(bracket.upper), done.history[-1]["valid"]["score"], inner


def test_it_helps_an_encoder_that_lags_behind_a_strong_decoder():
    lower, _, score, inner = trained("strong", True, 60)
    _, upper, plain, _ = trained("strong", False, 60)
    assert inner > 600
    assert lower > upper + 0.4
    assert score < plain
    assert lower > trained("strong", False, 60 + inner)[1] + 0.3  # it is not the number of steps


def test_it_does_not_help_where_the_collapsed_model_is_the_better_one():
    assert trained("noisy", False, 150)[0] < 0.05
    assert trained("noisy", True, 30)[1] < 0.1


def test_what_it_cannot_work_with_is_refused_at_once():
    for wrong in ({"rule": "sounds"}, {"window": 0}, {"most": True}, {"gradients": "none"}):
        with pytest.raises(BadInput):
            Aggressive(**wrong)
    inner = Script([1.0] * 99)
    inner.model = VAE(nn.Linear(16, 4), nn.Linear(4, 16), 4, read_q=lambda raw: Independent(Laplace(raw, 1.0), 1))
    with pytest.raises(Unsupported, match="Aggressive"):
        Aggressive().before_step(inner)
    inner = _at(Script([1.0] * 99), 1.0)
    inner.validation = lambda: iter(())
    with pytest.raises(BadInput, match="validation"):
        Aggressive().before_step(inner)
