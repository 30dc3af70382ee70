"""Controllers arrive where they were sent; their fixed points are known for a linear VAE."""

import math
from functools import cache

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from uncollapse import VAE, Objective, draw
from uncollapse.distributions import FixedGaussian
from uncollapse.errors import BadInput
from uncollapse.functional import log_mean_exp, pairwise_log_prob
from uncollapse.remedies import GECO, ControlVAE, TargetRate
from uncollapse.schedules import Linear
from uncollapse.testing import Prototypes, ToyModel, optimum

VALUES = torch.tensor([4.0, 2.0, 1.0, 0.5, 0.25])  # of the covariance of the data
REMEDIES = {
    "target rate": lambda: TargetRate(2.0, speed=0.05),
    "controller": lambda: ControlVAE(2.0, integral=1e-3),
    "geco": lambda: GECO(4.5),
}


def steps(model, remedy, x, count, lr=5e-3, batch=64, samples=1):
    """KL and distortion of every step."""
    objective = Objective([remedy])
    optimiser = torch.optim.Adam(model.parameters(), lr=lr)
    seen = []
    for _ in range(count):
        one = draw(model, x[torch.randint(len(x), (batch,))], samples)
        loss = sum(term.mean() for term in objective(one, model).values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        objective.after_step(model)
        seen.append((one.kl.sum(1).mean().item(), -one.log_px.mean().item()))
    return torch.tensor(seen)


@cache
def trained(name):
    """Mean KL and distortion of the last 200 of 700 steps, and the information over 1,000 images, nats."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x = ToyModel(scale=None if name == "geco" else 2.0), Prototypes().sample(1000, seed=1)[0]
        kl, distortion = steps(model, REMEDIES[name](), x, 700)[-200:].mean(0).tolist()
        with torch.no_grad():
            one = draw(model, x)
            scores = pairwise_log_prob(one.z[0], one.q.base_dist.loc, one.q.base_dist.scale)
            return kl, distortion, (scores.diag() - log_mean_exp(scores, 1)).mean().item()


@pytest.mark.parametrize("name", ["target rate", "controller"])
def test_the_kl_arrives_and_most_of_it_is_information(name):
    kl, _, information = trained(name)  # without a remedy both are 0: tests/remedies/test_information.py
    assert kl == pytest.approx(2.0, abs=0.1)
    assert 1.5 < information < kl


def test_the_distortion_arrives():
    kl, distortion, information = trained("geco")
    assert distortion == pytest.approx(4.5, abs=0.3)
    assert 2.0 < information < kl


@pytest.mark.parametrize("target", [0.5, 1.5, 3.0])
@pytest.mark.parametrize("make", [lambda r: TargetRate(r, speed=0.1), lambda r: ControlVAE(r, 0.01, 0.05, 0.0, 10.0)])
def test_fixed_point_is_the_beta_of_the_linear_vae(make, target):
    """The plant is the closed form KL(beta) of a linear VAE at its optimum."""
    remedy = make(target)
    for _ in range(1000):
        beta = max(remedy.current_weight, 1e-6)
        remedy.rate(optimum(VALUES, 3, 0.3, beta).kl.expand(8, 3))
        remedy.after_step(None)
    assert float(optimum(VALUES, 3, 0.3, remedy.current_weight).kl.sum()) == pytest.approx(target, abs=1e-3)


def test_beta_found_in_training_is_the_one_of_the_closed_form():
    r"""KL = 1/2 log(4 / (b s²)) + 1/2 log(2 / (b s²)) while two directions are active, so b s² = sqrt(8) exp(-KL)."""
    target = 0.9
    beta = math.sqrt(8) * math.exp(-target) / 0.5
    assert 1.0 < beta * 0.5 < 2.0
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VAE(nn.Linear(5, 6), nn.Linear(3, 5), latent=3, read_x=FixedGaussian(0.5**0.5))
        x = torch.randn(4000, 5) * VALUES.sqrt()
        x = (x - x.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T, correction=0)).T) * VALUES.sqrt()
        remedy = TargetRate(target, speed=0.03)
        seen = steps(model, remedy, x, 1000, lr=1e-2, batch=256)
    assert seen[-300:, 0].mean().item() == pytest.approx(target, abs=0.03)
    assert remedy.current_weight == pytest.approx(beta, rel=0.05)


def test_multiplier_against_a_slow_version():
    remedy = TargetRate(2.0, speed=0.3, smoothing=0.8, lowest=0.5, highest=1.2)
    average = mass = 0.0
    log_beta, betas, expected = 0.0, [], []
    for kl in [0.0, 1.0, 1.0, 0.1, 9.0, 2.0, 50.0, 50.0, 50.0, 2.5]:
        expected.append(math.exp(log_beta))
        betas.append(float(remedy.rate(torch.full((4, 5), kl / 5, dtype=torch.float64)).sum(1).mean()) / max(kl, 1e-9))
        remedy.after_step(None)
        average = 0.8 * average + 0.2 * (kl / 2 - 1)
        mass = 0.8 * mass + 0.2
        log_beta = min(max(log_beta + 0.3 * min(max(average / mass, -1), 1), math.log(0.5)), math.log(1.2))
    assert betas[1:] == pytest.approx(expected[1:])
    assert min(expected) == pytest.approx(0.5)
    assert max(expected) == pytest.approx(1.2)


def slow_controller(errors, kp, ki, low, high, freeze):
    """Weights by the formula, with a rule that says when the sum stands still."""
    total, before, weights = 0.0, low, []
    for e in errors:
        if not freeze(before, e, low, high):
            total -= ki * e
        before = kp / (1 + math.exp(e)) + total + low
        weights.append(min(max(before, low), high))
    return weights


def ours(before, e, low, high):
    return (before > high and e < 0) or (before < low and e > 0)


def published(before, e, low, high):
    return before < low or before > high


def test_controller_against_a_slow_version():
    errors = [3.0, 3.0, 3.0, -8.0, -8.0, -8.0, 1.0, 1.0, 0.5, -0.5]
    remedy = ControlVAE(10.0, proportional=0.3, integral=0.05, lowest=0.1, highest=0.9)
    weights = []
    for e in errors:
        remedy.rate(torch.full((4, 2), (10.0 - e) / 2, dtype=torch.float64))
        remedy.after_step(None)
        weights.append(remedy.current_weight)
    assert weights == pytest.approx(slow_controller(errors, 0.3, 0.05, 0.1, 0.9, ours))
    assert {0.1, 0.9} <= {round(weight, 6) for weight in weights}


def test_the_published_rule_can_hold_the_weight_at_its_bound():
    errors = [3.0] * 5 + [-3.0] * 200
    assert slow_controller(errors, 0.01, 0.01, 0.0, 1.0, published)[-1] == 0.0
    assert slow_controller(errors, 0.01, 0.01, 0.0, 1.0, ours)[-1] == 1.0


def test_geco_is_lambda_times_the_distortion_plus_the_kl():
    torch.manual_seed(0)
    model, x = ToyModel(), Prototypes().sample(12)[0]
    remedy = GECO(0.5, per="pixel", speed=0.2, smoothing=0.0, start=2.0)
    one = draw(model, x, samples=3)
    distortion = -one.log_px.mean(0)
    total = sum(Objective([remedy])(one, model).values())
    assert torch.allclose(total, 2 * distortion + one.kl.sum(1))
    remedy.after_step(model)
    moved = min(max(distortion.mean().item() - 8.0, -1), 1)
    assert remedy.current_weight == pytest.approx(2 * math.exp(0.2 * moved))


@pytest.mark.parametrize("make", [lambda: TargetRate(2.0), lambda: ControlVAE(2.0), lambda: GECO(4.0, start=2.0)])
def test_evaluation_moves_nothing(make):
    torch.manual_seed(0)
    model, remedy, x = ToyModel(), make(), Prototypes().sample(12)[0]
    objective = Objective([remedy])
    objective.eval()
    one = draw(model, x)
    objective(one, model)
    assert remedy._error is None
    objective.train()
    with torch.no_grad():
        objective(one, model)
    assert remedy._error is None


class NoWaiting(TorchDispatchMode):
    """Refuses what would make the processor wait for an accelerator."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert "_local_scalar_dense" not in str(function), "a number was read from a tensor"
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("make", [lambda: TargetRate(2.0), lambda: ControlVAE(2.0), lambda: GECO(4.0, start=2.0)])
def test_a_step_waits_for_no_number(make):
    torch.manual_seed(0)
    model, objective = ToyModel(), Objective([make()])
    one = draw(model, Prototypes().sample(12)[0])
    assert one.log_px.shape == (1, 12)
    with NoWaiting():
        objective(one, model)
        objective.after_step(model)
    assert len(objective.weights()) == 1
    with NoWaiting(), pytest.raises(AssertionError, match="a number was read"):
        objective.weights()


def test_a_target_may_rise():
    remedy = TargetRate(Linear(1.0, 4.0, over=10))
    assert remedy.arrives == 10
    remedy.step = 10
    remedy.rate(torch.ones(3, 2))
    assert float(remedy._error) == pytest.approx(-0.5)
    assert ControlVAE(Linear(1.0, 4.0, over=7)).arrives == 7


def test_state_is_double_and_saved():
    for remedy in (TargetRate(2.0), ControlVAE(2.0), GECO(4.0)):
        state = {name: value for name, value in remedy.state_dict().items() if "extra" not in name}
        assert state
        assert all(value.dtype == torch.float64 for value in state.values())


def test_an_empty_kl_satisfies_a_target():
    """The encoder N(c, I) knows nothing about x; its KL of 2 nats is all that a target asks for."""
    remedy = TargetRate(2.0)
    remedy.rate(torch.full((16, 4), 0.5))
    remedy.after_step(None)
    assert remedy.current_weight == pytest.approx(1.0)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: TargetRate(0.0), lambda: TargetRate(-1.0), lambda: TargetRate(2.0, smoothing=1.0),
        lambda: TargetRate(2.0, speed=0.0), lambda: TargetRate(2.0, lowest=2.0), lambda: TargetRate("two"),
        lambda: ControlVAE(2.0, lowest=1.0), lambda: ControlVAE(2.0, integral=-1.0), lambda: ControlVAE(math.inf),
        lambda: GECO(math.nan), lambda: GECO(True), lambda: GECO(4.0, per="image"), lambda: GECO(4.0, start=0.0),
    ],
)  # fmt: skip
def test_bad_arguments(wrong):
    with pytest.raises(BadInput, match=r"should be|expects|a number or a function"):
        wrong()


@pytest.mark.parametrize("name", ["target rate", "controller", "geco"])
def test_the_best_checkpoint_is_one_near_the_target(name):
    torch.manual_seed(0)
    model, x = ToyModel(scale=2.0 if name != "geco" else None), Prototypes().sample(20)[0]
    one = draw(model, x)
    remedy = REMEDIES[name]().eval()
    got = (-one.log_px[0] if name == "geco" else one.kl.sum(1)).mean().detach()
    due = max(float(got) - 4.5, 0) if name == "geco" else abs(float(got) - 2.0)
    rest = (one.kl.sum(1).mean() if name == "geco" else -one.log_px[0].mean()).detach()
    assert Objective([remedy]).score(one, model).mean().item() == pytest.approx(float(rest) + 10 * due, rel=1e-4)
