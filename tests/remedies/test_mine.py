"""MINE: both bounds against loops, the corrected gradient, a case with a known answer, and what it buys."""

import math
from functools import cache

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal

from uncollapse import VAE, Codes, Draw, Objective, draw, metrics
from uncollapse.distributions import standard_normal
from uncollapse.errors import BadInput, NonFinite, ShapeError
from uncollapse.remedies import MINE
from uncollapse.testing import Prototypes, ToyModel


def pairs(batch, correlation, generator=None):
    """A draw of standard normal pairs (x, z) with a correlation."""
    x = torch.randn(batch, 1, generator=generator)
    noise = math.sqrt(1 - correlation**2)
    z = correlation * x + noise * torch.randn(batch, 1, generator=generator)
    q = Independent(Normal(correlation * x, torch.full_like(x, noise)), 1)
    return Draw(x, q, z[None], None, standard_normal(1))


@pytest.fixture
def one():
    torch.manual_seed(0)
    return draw(ToyModel(), Prototypes().sample(6)[0], samples=2)


def statistic(mine, x, z):
    """T of one pair."""
    return mine.joint(mine.x_tower(x[None]) + mine.z_tower(z[None])).item()


@pytest.mark.parametrize("bound", ["dv", "nwj"])
def test_all_pairs_against_loops(one, bound):
    mine = MINE((16,), 4, bound=bound, pairs="all")
    own = [[statistic(mine, one.x[i], one.z[k, i]) for i in range(6)] for k in range(2)]
    mixed = [[[statistic(mine, one.x[j], one.z[k, i]) for j in range(6) if j != i] for i in range(6)] for k in range(2)]
    term = mine.term(one, None)
    if bound == "dv":
        level = math.log(sum(math.exp(t) for zs in mixed for row in zs for t in row) / 60)
        slow = [level - (own[0][i] + own[1][i]) / 2 for i in range(6)]
    else:
        slow = [sum(sum(math.exp(t - 1) for t in mixed[k][i]) / 5 - own[k][i] for k in range(2)) / 2 for i in range(6)]
    assert term.tolist() == pytest.approx(slow, abs=1e-4)


def test_shuffled_pairs_are_all_strangers(one):
    mine = MINE((16,), 4)
    mine.joint = nn.Identity()
    mine.x_tower = nn.Sequential()  # set below: every x is its own number
    mine.z_tower = nn.Linear(4, 1)
    nn.init.zeros_(mine.z_tower.weight), nn.init.zeros_(mine.z_tower.bias)
    numbered = Draw(torch.arange(6.0)[:, None], one.q, one.z, one.px, one.prior)
    found = set()
    for _ in range(50):
        own, mixed = mine.scores(numbered, one.z)
        assert own[0].tolist() == list(range(6))
        order = mixed[0].flatten().tolist()
        assert sorted(order) == list(range(6))
        assert all(i != j for i, j in enumerate(order))
        assert mixed.shape == (2, 6, 1)
        found.add(tuple(order))
    assert len(found) > 20


def test_the_gradient_divides_by_the_moving_average(one):
    torch.manual_seed(0)
    mine = MINE((16,), 4, pairs="all", decay=0.9)
    average, weight = 0.0, 0.0
    for step in range(4):
        if step:  # another network, so that the levels differ
            with torch.no_grad():
                mine.joint[-1].bias.add_(1.0)
        own, mixed = mine.scores(one, one.z)
        level = mixed.exp().mean()
        average, weight = 0.9 * average + 0.1 * level.item(), 0.9 * weight + 0.1
        by_hand = level * weight / average - own.mean()
        parameters = list(mine.joint.parameters())
        slow = torch.autograd.grad(by_hand, parameters, retain_graph=True)
        fast = torch.autograd.grad(mine.term(one, None).mean(), parameters)
        for a, b in zip(fast, slow, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
        mine.after_step(None)
    assert mine.log_total.item() == pytest.approx(math.log(average), rel=1e-4)
    assert level.item() * weight / average > 1.5  # the correction matters here


def test_without_decay_the_gradient_is_that_of_the_batch(one):
    mine = MINE((16,), 4, pairs="all", decay=0.0)
    for _ in range(2):
        own, mixed = mine.scores(one, one.z)
        plain = (mixed.flatten().logsumexp(0) - own.mean()) * 1.0
        parameters = list(mine.joint.parameters())
        slow = torch.autograd.grad(plain, parameters)
        fast = torch.autograd.grad(mine.term(one, None).mean(), parameters)
        for a, b in zip(fast, slow, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
        mine.after_step(None)


def test_the_average_moves_in_training_only(one):
    mine = MINE((16,), 4)
    with torch.no_grad():
        mine.term(one, None)
    mine.eval().term(one, None)
    mine.after_step(None)
    assert mine.log_total == -math.inf
    assert mine._handed is None


TRUTH = -0.5 * math.log(1 - 0.9**2)


@cache
def estimate(bound, pairing):
    """The estimate of the information in normal pairs of correlation 0.9 after a short training, on new pairs."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mine = MINE((1,), 1, bound=bound, pairs=pairing, embed=32, hidden_x=32, hidden=32)
        optimiser = torch.optim.Adam(mine.parameters(), lr=5e-3)
        for _ in range(300):
            loss = mine(pairs(256 if pairing == "shuffled" else 64, 0.9), None).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            mine.after_step(None)
        mine.pairs = "shuffled"
        with torch.no_grad():
            return -mine.eval().term(pairs(20_000, 0.9), None).mean().item()


@pytest.mark.parametrize(("bound", "pairing"), [("dv", "shuffled"), ("nwj", "shuffled"), ("dv", "all")])
def test_known_information(bound, pairing):
    assert estimate(bound, pairing) == pytest.approx(TRUTH, abs=0.12)


def exact_scores(one, offset):
    """The best T in place of the network: the log density ratio of normal pairs, plus a number."""
    x, z = one.x[:, 0], one.z[0, :, 0]
    other = x.roll(1)

    def ratio(x, z):
        return Normal(0.99 * x, math.sqrt(1 - 0.99**2)).log_prob(z) - Normal(0.0, 1.0).log_prob(z)

    return (ratio(x, z) + offset)[None], (ratio(other, z) + offset)[None, :, None]


def test_on_small_batches_dv_is_no_bound_and_nwj_is_one():
    truth, generator = -0.5 * math.log(1 - 0.99**2), torch.Generator().manual_seed(0)
    batches = [pairs(8, 0.99, generator) for _ in range(1000)]
    found = {}
    for bound, offset in [("dv", 0.0), ("nwj", 1.0)]:
        mine = MINE((1,), 1, bound=bound)
        mine.scores = lambda one, zs, offset=offset: exact_scores(one, offset)
        with torch.no_grad():
            found[bound] = torch.stack([-mine.term(one, None).mean() for one in batches])
    assert found["dv"].mean() > truth + 0.5
    error = found["nwj"].std() / math.sqrt(len(batches))
    assert abs(found["nwj"].mean() - truth) < 3 * error
    assert found["nwj"].std() > 1.0  # of one batch


def test_towers_of_ones_own():
    x = torch.rand(5, 1, 8, 8)
    q = Independent(Normal(torch.zeros(5, 3), torch.ones(5, 3)), 1)
    one = Draw(x, q, q.rsample((1,)), None, standard_normal(3))
    own = nn.Sequential(nn.Flatten(), nn.Linear(64, 128))
    for tower in (own, "conv-small"):
        assert MINE((1, 8, 8), 3, x_tower=tower).term(one, None).shape == (5,)
    with pytest.raises(ShapeError, match="one vector per example"):
        MINE((1, 8, 8), 3, x_tower=nn.Identity()).term(one, None)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"bound": "nce"}, "dv, nwj"),
        ({"pairs": "some"}, "shuffled, all"),
        ({"compare": "mode"}, "sample, mean"),
        ({"decay": 1.0}, "below 1"),
        ({"decay": -0.1}, "decay"),
        ({"embed": 0}, "embed of MINE"),
        ({"latent": 2.5}, "latent of MINE"),
    ],
)
def test_arguments_are_checked(arguments, words):
    with pytest.raises(BadInput, match=words):
        MINE(**{"shape": (16,), "latent": 4, **arguments})
    with pytest.raises(ShapeError, match="MINE expects the shape"):
        MINE((), 4)


def test_a_batch_of_one_is_refused():
    with pytest.raises(BadInput, match="at least two"):
        MINE((1,), 1).term(pairs(1, 0.5), None)


@cache
def trained(**arguments):
    """Codes of 1,000 images and the last estimate; without help the best model of this data is a collapsed one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, objective = ToyModel(scale=2.0), Objective([MINE((16,), 4, embed=32, hidden_x=32, **arguments)])
        x, found = Prototypes().sample(1000, seed=1)[0], []
        optimiser = torch.optim.Adam([*model.parameters(), *objective.parameters()], lr=5e-3)
        for _ in range(300):
            terms = objective(draw(model, x[torch.randint(len(x), (64,))]), model)
            optimiser.zero_grad()
            sum(term.mean() for term in terms.values()).backward()
            optimiser.step()
            objective.after_step(model)
            found.append(-terms["mine"].mean().item() / max(arguments["weight"], 1e-9))
        return metrics.mutual_information(Codes.of(model, x)).lower.value, sum(found[-50:]) / 50


@pytest.mark.parametrize("arguments", [{}, {"pairs": "all"}, {"bound": "nwj"}], ids=["dv", "all", "nwj"])
def test_it_raises_information(arguments):
    assert trained(weight=0.0)[0] < 0.05
    assert trained(weight=5.0, **arguments)[0] > 2.0


def test_comparing_means_raises_the_estimate_and_little_information():
    information, estimate = trained(weight=5.0, compare="mean")
    assert information < estimate - 0.5
    assert information < trained(weight=5.0)[0] - 1.0


def test_scores_that_overflow_stop_training_before_the_weights_are_touched():
    """exp(T - 1) of nwj has no bound: `fit` says at which step, and the weights stay as they were."""
    from uncollapse.fit import fit

    torch.manual_seed(0)
    model = VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4)
    remedy = MINE((16,), latent=4, bound="nwj")
    with torch.no_grad():
        remedy.joint[-1].bias.fill_(100.0)
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(NonFinite, match="the term mine is NaN or infinite at step 0"):
        fit(model, torch.rand(64, 16).round(), Objective([remedy]), batches=3, batch_size=32)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
