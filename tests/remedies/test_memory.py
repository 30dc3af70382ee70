"""More candidates than the batch holds: against slow versions, against the large batch, and what they do."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Independent, Laplace

from uncollapse import VAE, Objective, draw, fit
from uncollapse.distributions import diagonal
from uncollapse.errors import BadInput, ShapeError, Unsupported
from uncollapse.functional import gaussian_columns, info_nce, log_mean_exp, pairwise_log_prob
from uncollapse.remedies import Remedy, SelfCritic
from uncollapse.remedies.memory import Memory, counted, draw_in_chunks, moments, named
from uncollapse.testing import Prototypes, ToyModel, check_remedy
from uncollapse.testing.bench import Training


class Remembering(Remedy):
    """A self critic with a memory."""

    sources = ("Nobody, 2000, only for tests, https://example.org",)

    def __init__(self, size, latent, weight=1.0):
        super().__init__(weight)
        self.memory = Memory(size, latent)

    def term(self, draw, model):
        return self.memory(draw.z, *diagonal(draw.q, "Remembering"))

    def after_step(self, model):
        super().after_step(model)
        self.memory.after_step()

    def ceiling(self, batch):
        return self.memory.ceiling(batch)


class Counting(Remedy):
    """A self critic whose negatives count several times."""

    sources = Remembering.sources

    def __init__(self, candidates, weight=1.0):
        super().__init__(weight)
        self.candidates = candidates

    def term(self, draw, model):
        scores = pairwise_log_prob(draw.z[0], *diagonal(draw.q, "Counting"))
        return info_nce(counted(scores, self.candidates))


@pytest.fixture
def x():
    return Prototypes().sample(12)[0]


def posteriors(batch=6, latent=3, seed=0, samples=1):
    """Samples (K, B, D), means and scales (B, D) that overlap."""
    torch.manual_seed(seed)
    mean, scale = torch.randn(batch, latent), 0.3 + torch.rand(batch, latent)
    return mean + scale * torch.randn(samples, batch, latent), mean, scale


def in_own_units(mean, scale):
    """Numpy, in float64."""
    mean, scale = mean.double().numpy(), scale.double().numpy()
    spread = np.sqrt(((mean - mean.mean(0)) ** 2).mean(0) + (scale**2).mean(0))
    return mean.mean(0), spread, (mean - mean.mean(0)) / spread, scale / spread


def by_loops(zs, mean, scale, kept):
    """Cross-entropies one pair at a time; `kept` are earlier batches, (mean, scale) each, oldest first."""
    centre, spread, means, scales = in_own_units(mean, scale)
    candidates = list(zip(means, scales, strict=True))
    for batch in kept:
        candidates += list(zip(*in_own_units(*batch)[2:], strict=True))
    out = []
    for z in (zs.double().numpy() - centre) / spread:
        for i, point in enumerate(z):
            logs = [(-0.5 * ((point - m) / s) ** 2 - np.log(s) - 0.5 * np.log(2 * np.pi)).sum() for m, s in candidates]
            out.append(np.logaddexp.reduce(logs) - logs[i])
    return torch.tensor(np.array(out).reshape(zs.shape[:2]).mean(0)).float()


# The contract


@pytest.mark.parametrize("size", [5, 12, 30])
def test_contract_with_a_memory(size, x, device, dtype):
    check_remedy(Remembering(size, 4), ToyModel(), x.to(device, dtype))


def test_contract_with_counted_negatives(x):
    check_remedy(Counting(40), ToyModel(), x)


# The memory


def test_memory_against_loops():
    memory, first, second = Memory(12, 3), posteriors(seed=1), posteriors(batch=4, seed=2)
    now = posteriors(batch=5, seed=3, samples=2)
    for batch in (first, second):
        memory(*batch)
        memory.after_step()
    expected = by_loops(*now, [first[1:], second[1:]])
    torch.testing.assert_close(memory(*now), expected, rtol=1e-5, atol=1e-5)


def test_slots_not_filled_are_not_scored():
    memory = Memory(100, 3)
    now = posteriors()
    torch.testing.assert_close(memory(*now), by_loops(*now, []), rtol=1e-5, atol=1e-5)
    memory.after_step()
    assert len(memory.bank.filled) == 6


def test_the_oldest_go():
    memory, batches = Memory(7, 3), [posteriors(batch=5, seed=seed) for seed in range(3)]
    for batch in batches:
        memory(*batch)
        memory.after_step()
    now = posteriors(seed=9)
    kept = [in_own_units(*one[1:])[2:] for one in batches[1:]]
    expected = np.concatenate([np.concatenate(one, 1) for one in kept])[-7:]
    found = memory.bank.filled.double().numpy()
    np.testing.assert_allclose(np.sort(found, 0), np.sort(expected, 0), rtol=1e-5, atol=1e-6)
    assert memory(*now).shape == (6,)


def test_without_a_past_it_is_the_self_critic():
    zs, mean, scale = posteriors(batch=8)
    value = info_nce(pairwise_log_prob(zs[0], mean, scale))
    torch.testing.assert_close(Memory(4, 3)(zs, mean, scale), value, rtol=1e-5, atol=1e-5)


def nodes(count=120):
    """Gauss-Hermite quadrature of the mean over standard normal noise."""
    points, weights = np.polynomial.hermite_e.hermegauss(count)
    return torch.tensor(points), torch.tensor(weights / weights.sum())


def mean_gradients(loss, mean, scale, batch):
    """Gradients through `mean` and `scale` (K, 1) of a loss of rows, averaged over the noise exactly, first B only.

    A row depends on its own noise alone, so that one node can serve all rows at once.
    """
    mean, scale = mean.clone().requires_grad_(), scale.clone().requires_grad_()
    total = sum(w * loss(mean + scale * e, mean, scale).sum() for e, w in zip(*nodes(), strict=True))
    return torch.cat(torch.autograd.grad(total, [mean, scale]), 1)[:batch]


def test_mean_gradient_is_that_of_the_large_batch():
    torch.manual_seed(0)
    mean, scale, batch = torch.randn(7, 1).double(), 0.4 + torch.rand(7, 1).double(), 3

    def large(z, mean, scale):
        return info_nce(pairwise_log_prob(z, mean, scale))

    def remembered(z, mean, scale):
        constant = gaussian_columns(mean.detach(), scale.detach())
        return named(z[:batch], mean[:batch], scale[:batch], constant)

    def queue(z, mean, scale):
        means, scales = (torch.cat([one[:batch], one[batch:].detach()]) for one in (mean, scale))
        return info_nce(pairwise_log_prob(z[:batch], means, scales))

    exact = mean_gradients(large, mean, scale, batch)
    torch.testing.assert_close(mean_gradients(remembered, mean, scale, batch), exact, rtol=1e-4, atol=1e-5)
    assert (mean_gradients(queue, mean, scale, batch) - exact).abs().max() > 0.05 * exact.abs().max()


def test_constant_candidates_change_no_value():
    (z,), mean, scale = posteriors()
    columns = gaussian_columns(mean, scale)
    torch.testing.assert_close(named(z, mean, scale, columns), info_nce(pairwise_log_prob(z, mean, scale)))


def test_a_drift_of_all_codes_changes_nothing():
    now, memory = posteriors(), Memory(6, 3)
    memory(*now)
    memory.after_step()
    stretch, shift = torch.tensor([2.0, 0.1, 1.0]), torch.tensor([5.0, 0.0, -3.0])
    moved = (now[0] * stretch + shift, now[1] * stretch + shift, now[2] * stretch)
    torch.testing.assert_close(memory(*moved), memory(*now), rtol=1e-4, atol=1e-5)


def test_running_away_from_the_past_has_no_gradient():
    memory, (zs, mean, scale) = Memory(6, 3), posteriors(seed=4)
    memory(*posteriors())
    memory.after_step()
    stretch, shift = torch.ones(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    term = memory(zs * stretch + shift, mean * stretch + shift, scale * stretch).sum()
    for slope in torch.autograd.grad(term, [stretch, shift]):
        assert slope.abs().max() < 1e-4
    raw = info_nce(pairwise_log_prob(zs[0] + shift, torch.cat([mean + shift, mean + 1]), torch.cat([scale, scale])))
    assert torch.autograd.grad(raw.sum(), shift)[0].abs().max() > 0.1


def test_it_moves_in_after_step_of_training_only(x):
    model, remedy = ToyModel(), Remembering(30, 4)
    remedy.eval()
    remedy.term(draw(model, x), model)
    remedy.after_step(model)
    assert remedy.memory.bank.written == 0
    remedy.train()
    with torch.no_grad():
        remedy.term(draw(model, x), model)
    assert remedy.memory._handed is None
    Training(model, remedy, x).run(0, 2)
    assert remedy.memory.bank.written == 24
    assert remedy.memory._handed is None


def test_state_dict_restores_it(x):
    remedy = Remembering(20, 4)
    Training(ToyModel(), remedy, x).run(0, 3)
    other = Remembering(20, 4)
    other.load_state_dict(remedy.state_dict())
    now = posteriors(latent=4)
    assert torch.equal(other.memory(*now), remedy.memory(*now))
    assert other.memory.bank.written == 36


def test_batch_of_one_has_the_past_to_be_told_from():
    memory = Memory(6, 3)
    memory(*posteriors())
    memory.after_step()
    one = memory(*posteriors(batch=1))
    assert one.shape == (1,)
    assert one.isfinite().all()


def test_ceiling():
    assert Memory(30, 4).ceiling(12) == math.log(42)


@pytest.mark.parametrize("given", [{"size": 0, "latent": 3}, {"size": 5, "latent": 2.0}, {"size": True, "latent": 3}])
def test_widths_are_checked(given):
    with pytest.raises(BadInput, match="of Memory should be a positive whole number"):
        Memory(**given)


def test_shapes_are_checked():
    zs, mean, scale = posteriors()
    for wrong in [(zs, mean[:, :2], scale[:, :2]), (zs[0], mean, scale), (zs, mean, scale[:4])]:
        with pytest.raises(ShapeError, match="the memory expects"):
            Memory(5, 3)(*wrong)


# Counted negatives


def test_counted_equals_repeated_negatives():
    torch.manual_seed(0)
    scores = torch.randn(3, 4)
    wanted = info_nce(counted(scores, 10))  # 9 negatives instead of 3
    for i, row in enumerate(scores):
        others = torch.cat([row[:i], row[i + 1 :]]).repeat(3)
        assert wanted[i] == pytest.approx(float(torch.cat([row[i : i + 1], others]).logsumexp(0) - row[i]), abs=1e-5)


def test_counted_leaves_enough_candidates_alone():
    scores = torch.randn(3, 4)
    assert torch.equal(counted(scores, 4), scores)
    assert torch.equal(counted(scores, 2), scores)
    assert torch.equal(counted(scores[:1, :1], 9), scores[:1, :1])


def test_counted_lies_between_both_bounds():
    torch.manual_seed(0)
    mean, scale = torch.randn(2000, 64, 1), torch.full((2000, 64, 1), 0.5)
    truth = 0.5 * math.log(1 + 1 / 0.25)
    z = mean + scale * torch.randn_like(mean)
    found = {count: [] for count in (64, 256, 10**9)}
    for one in zip(z, mean, scale, strict=True):
        scores = pairwise_log_prob(*one)
        for count, values in found.items():
            values.append(math.log(count) - info_nce(counted(scores, count)).mean())
    lower, middle, upper = (float(torch.stack(values).mean()) for values in found.values())
    assert lower < middle < upper
    assert lower < truth < upper


def test_without_information_counted_tells_none():
    assert info_nce(counted(torch.zeros(4, 4), 100)).exp().tolist() == pytest.approx([100.0] * 4)


@pytest.mark.parametrize("count", [1, 2.0, True, -5])
def test_count_is_checked(count):
    with pytest.raises(BadInput, match="candidates should be a whole number of at least 2"):
        counted(torch.zeros(2, 2), count)


def test_counted_needs_the_partners():
    with pytest.raises(ShapeError, match="K >= B"):
        counted(torch.zeros(3, 2), 5)


# A large batch in chunks


def gradients(model, one):
    """Of the whole objective with a self critic, and its value."""
    loss = torch.stack(list(Objective([SelfCritic(2.0)])(one, model).values())).sum(0).mean()
    return torch.autograd.grad(loss, list(model.parameters())), loss.detach()


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("chunk", [1, 4, 5, 50])
def test_chunks_have_the_gradient_of_the_large_batch(chunk, samples, x):
    torch.manual_seed(0)
    model = ToyModel()
    torch.manual_seed(1)
    whole, value = gradients(model, draw(model, x, samples))
    torch.manual_seed(1)
    parts, same = gradients(model, draw_in_chunks(model, x, chunk, samples))
    assert float(same) == pytest.approx(float(value), rel=1e-5)
    for one, two in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5)


def test_dropout_is_the_same_in_both_passes(x):
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Dropout(0.5), nn.Linear(32, 8))
    model = VAE(encoder, nn.Linear(4, 16), latent=4)
    torch.manual_seed(1)
    whole, _ = gradients(model, draw(model, x))
    torch.manual_seed(1)
    parts, _ = gradients(model, draw_in_chunks(model, x, len(x)))
    for one, two in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5)


def floats_for_backward(make):
    """How many numbers stay in memory between both passes, parameters left out."""
    seen = {}

    def pack(tensor):
        if not isinstance(tensor, nn.Parameter):
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        one = make()
        alive = (one, one.log_px)
    del alive
    return sum(seen.values())


def test_chunks_keep_no_activations():
    torch.manual_seed(0)
    model, x = ToyModel(hidden=256), Prototypes().sample(256)[0]
    whole = floats_for_backward(lambda: draw(model, x))
    parts = floats_for_backward(lambda: draw_in_chunks(model, x, 32))
    assert whole > 2 * 256 * 256
    assert parts < whole / 10


def laplace(raw):
    return Independent(Laplace(raw[:, :4], raw[:, 4:].exp()), 1)


def test_chunks_are_checked(x):
    model = ToyModel()
    with pytest.raises(BadInput, match="chunk of draw_in_chunks"):
        draw_in_chunks(model, x, 0)
    with pytest.raises(ShapeError, match="at least one example"):
        draw_in_chunks(model, x[:0])
    with pytest.raises(ShapeError, match="decoder describes observations"):
        print(draw_in_chunks(VAE(nn.Linear(16, 8), nn.Linear(4, 9), latent=4), x).elbo)
    with pytest.raises(Unsupported, match="diagonal Gaussian"):
        draw_in_chunks(VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4, read_q=laplace), x)


def test_means_in_chunks(x):
    model = ToyModel()
    torch.manual_seed(0)
    with torch.no_grad():
        one = draw_in_chunks(model, x, 5, samples=2)
    torch.testing.assert_close(one.px.mean, model.likelihood(one.z).mean)


# What they do

WAYS = {
    "in batch": lambda: SelfCritic(2.0),
    "memory": lambda: Remembering(48, 4, weight=2.0),
    "counted": lambda: Counting(64, weight=2.0),
}


@cache
def trained(name, steps=400, batch=16):
    """Lower bound of the information over 1,000 images, and the mean KL, nats."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, objective = ToyModel(scale=2.0), Objective([WAYS[name]()])
        x = Prototypes().sample(1000, seed=1)[0]
        optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
        for _ in range(steps):
            terms = objective(draw(model, x[torch.randint(len(x), (batch,))]), model)
            optimiser.zero_grad()
            sum(term.mean() for term in terms.values()).backward()
            optimiser.step()
            objective.after_step(model)
        with torch.no_grad():
            one = draw(model, x)
            scores = pairwise_log_prob(one.z[0], *diagonal(one.q, "trained"))
            return (scores.diag() - log_mean_exp(scores, 1)).mean().item(), one.kl.sum(1).mean().item()


@pytest.mark.parametrize("name", ["memory", "counted"])
def test_more_candidates_raise_information(name):
    information, kl = trained(name)
    assert information > trained("in batch")[0] + 0.5
    assert information > 3.0
    assert information < kl < information + 0.8


def test_it_runs_in_the_training_loop():
    torch.manual_seed(0)
    remedy = Remembering(40, 4)
    done = fit(ToyModel(), Prototypes().sample(128)[0], Objective([remedy]), batches=8, batch_size=16)
    assert done.steps == 8
    assert remedy.memory.bank.written == 8 * 16


def test_units_are_those_of_the_mixture():
    _, mean, scale = posteriors(batch=200)
    centre, unit = moments(mean, scale)
    many = mean + scale * torch.randn(5000, *mean.shape)
    torch.testing.assert_close(many.mean((0, 1)), centre, rtol=0, atol=0.01)
    torch.testing.assert_close(many.std((0, 1)), unit, rtol=0.01, atol=0)
