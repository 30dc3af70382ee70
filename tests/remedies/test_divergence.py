"""MMD and MAE: their formulas against loops and closed forms, what they do to the information and what that costs."""

import math
from functools import cache

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from uncollapse import Codes, Draw, Objective, draw, metrics
from uncollapse.distributions import standard_normal
from uncollapse.errors import BadInput, Unsupported
from uncollapse.functional import log_mean_exp, pairwise_log_prob
from uncollapse.remedies import MAE, MMD
from uncollapse.remedies.divergence import off_diagonal
from uncollapse.remedies.pair_moments import deviation_of_kl, mean_pairwise_kl
from uncollapse.testing import Prototypes, ToyModel


def drawn(mean, scale, samples=1, prior=None):
    """A draw whose posteriors are given; nothing was decoded."""
    q = Independent(Normal(mean, scale), 1)
    return Draw(mean, q, q.rsample((samples,)), None, prior or standard_normal(mean.shape[1]))


def slow_mmd(z, y, kernel, unbiased):
    """Three double loops."""

    def mean(a, b, skip):
        pairs = [(i, j) for i in range(len(a)) for j in range(len(b)) if not (skip and i == j)]
        return sum(kernel((a[i] - b[j]).square().sum().item()) for i, j in pairs) / len(pairs)

    return mean(z, z, unbiased) + mean(y, y, unbiased) - 2 * mean(z, y, False)


def rbf(h):
    return lambda r: math.exp(-r / h)


def imq(h):
    return lambda r: h / (h + r)


KERNELS = [
    ({}, rbf(9.0)),
    ({"kernel": "imq"}, imq(6.0)),
    ({"bandwidth": 0.7}, rbf(0.7)),
    ({"kernel": "imq", "bandwidth": 2.0, "scales": (0.1, 5.0)}, lambda r: imq(0.2)(r) + imq(10.0)(r)),
]


@pytest.mark.parametrize("statistic", ["u", "v"])
@pytest.mark.parametrize(("arguments", "kernel"), KERNELS)
@pytest.mark.parametrize("samples", [None, 9])
def test_mmd_against_loops(statistic, arguments, kernel, samples):
    torch.manual_seed(0)
    one = drawn(torch.randn(7, 3), torch.rand(7, 3), samples=2)
    torch.manual_seed(1)
    term = MMD(statistic=statistic, samples=samples, **arguments).term(one, None)
    torch.manual_seed(1)
    y = one.prior.sample((samples or 7,))
    slow = [slow_mmd(z, y, kernel, statistic == "u") for z in one.z]
    assert term.mean().item() == pytest.approx(sum(slow) / 2, rel=1e-4, abs=1e-6)
    assert term.std() > 0  # each code has its own part


def test_median_bandwidth():
    torch.manual_seed(0)
    one = drawn(torch.randn(5, 3), torch.rand(5, 3))
    torch.manual_seed(1)
    term = MMD(bandwidth="median").term(one, None)
    torch.manual_seed(1)
    y = one.prior.sample((5,))
    across = sorted((z - other).square().sum().item() for z in one.z[0] for other in y)
    assert term.mean().item() == pytest.approx(slow_mmd(one.z[0], y, rbf(across[12]), True), rel=1e-4)


def mean_kernel(shift, variance, h, latent):
    """E exp(-|d|²/h) for d from N(shift, variance I)."""
    width = 1 + 2 * variance / h
    return width ** (-latent / 2) * math.exp(-(shift**2) * latent / (h * width))


def test_mmd_of_two_gaussians():
    torch.manual_seed(0)
    one = drawn(torch.full((2000, 4), 0.5), torch.full((2000, 4), 0.6))
    exact = mean_kernel(0, 0.72, 16, 4) + mean_kernel(0, 2, 16, 4) - 2 * mean_kernel(0.5, 1.36, 16, 4)
    assert MMD().term(one, None).mean().item() == pytest.approx(exact, abs=0.01)
    assert exact > 0.09


def test_u_is_unbiased_and_v_is_not():
    torch.manual_seed(0)
    codes = [drawn(torch.randn(16, 4).mul(0.8), torch.full((16, 4), 0.6)) for _ in range(600)]
    u, v = (torch.stack([MMD(statistic=s).term(one, None).mean() for one in codes]) for s in "uv")
    assert abs(u.mean()) < 3 * u.std() / math.sqrt(600)
    bias = 2 * (1 - mean_kernel(0, 2, 16, 4)) / 16
    assert v.mean().item() == pytest.approx(bias, rel=0.1)


def test_info_vae_objective():
    torch.manual_seed(0)
    model, x = ToyModel(), Prototypes().sample(12)[0]
    one = draw(model, x)
    torch.manual_seed(1)
    terms = Objective([MMD(alpha=0.25, lam=8.0)])(one, model)
    torch.manual_seed(1)
    term = MMD().term(one, model)
    torch.testing.assert_close(terms["rate"], 0.75 * one.kl.sum(1))
    torch.testing.assert_close(terms["mmd"], 7.25 * term)


def test_a_trained_prior_learns_from_mmd():
    torch.manual_seed(0)
    centre = nn.Parameter(torch.ones(3))
    one = drawn(torch.zeros(8, 3), torch.ones(8, 3), prior=Independent(Normal(centre, torch.ones(3)), 1))
    MMD().term(one, None).mean().backward()
    assert (centre.grad > 0).all()  # down the gradient, towards the codes


def test_a_prior_that_only_samples():
    parts = Independent(Normal(torch.randn(3, 2), torch.ones(3, 2)), 1)
    prior = MixtureSameFamily(Categorical(torch.ones(3)), parts)
    assert MMD().term(drawn(torch.zeros(8, 2), torch.ones(8, 2), prior=prior), None).isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"alpha": 1.5}, "at most 1"),
        ({"alpha": "all"}, "at most 1"),
        ({"alpha": 0.0, "lam": 0.5}, r"alpha \+ lam - 1"),
        ({"lam": -1.0}, "lam"),
        ({"kernel": "linear"}, "rbf, imq"),
        ({"bandwidth": "mean"}, "unless 'dimension' or 'median'"),
        ({"bandwidth": 0.0}, "positive"),
        ({"scales": ()}, "at least one"),
        ({"scales": (0.0,)}, "positive"),
        ({"statistic": "w"}, "u, v"),
        ({"samples": 1}, "at least 2"),
    ],
)
def test_arguments_of_mmd_are_checked(arguments, words):
    with pytest.raises(BadInput, match=words):
        MMD(**arguments)


@pytest.mark.parametrize("kind", [MMD, MAE])
def test_a_batch_of_one_is_refused(kind):
    with pytest.raises(BadInput, match="at least two"):
        kind().term(drawn(torch.zeros(1, 2), torch.ones(1, 2)), None)


def pair_by_pair(mean, scale):
    """KL of every two posteriors in float64, (B, B, D)."""
    wide = [Normal(m, s) for m, s in zip(mean.double(), scale.double(), strict=True)]
    return torch.stack([torch.stack([kl_divergence(p, q) for q in wide]) for p in wide])


SPREADS = [(1.0, 0.5), (1.0, 1e-3), (1.0, 1e-4), (100.0, 1e-2), (0.0, 1.0), (1e-3, 1.0)]


@pytest.mark.parametrize(("spread", "scale"), SPREADS)
def test_moments_of_the_kl_of_pairs_against_loops(spread, scale):
    torch.manual_seed(0)
    mean, scale = 3 + spread * torch.randn(9, 5), scale * (0.5 + torch.rand(9, 5))
    slow = pair_by_pair(mean, scale)
    away = slow.sum((0, 1)) / (9 * 8)
    torch.testing.assert_close(mean_pairwise_kl(mean, scale), away, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(deviation_of_kl(mean, scale), off_diagonal(slow.sum(2)).std(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("spread", [1e-2, 1e-4])
def test_deviation_keeps_its_gradient_near_collapse(spread):
    torch.manual_seed(0)
    start = (spread * torch.randn(9, 5).double(), 1 + spread * torch.randn(9, 5).double())
    slopes = []
    for form in (deviation_of_kl, lambda mean, scale: off_diagonal(pair_by_pair(mean, scale).sum(2)).std()):
        inputs = [part.clone().requires_grad_() for part in start]
        slopes.append(torch.autograd.grad(form(*inputs), inputs))
    for ours, theirs in zip(*slopes, strict=True):
        assert (ours - theirs).norm() < 1e-4 * theirs.norm()


def test_equal_divergences_deviate_by_nothing():
    mean, scale = torch.tensor([[0.0], [2.0]], requires_grad=True), torch.ones(2, 1)
    deviation = deviation_of_kl(mean, scale)
    assert deviation.item() == 0
    assert torch.autograd.grad(deviation, mean)[0].tolist() == [[0.0], [0.0]]


def test_gradient_of_the_deviation():
    torch.manual_seed(0)
    inputs = [torch.randn(4, 2).double().requires_grad_(), (0.5 + torch.rand(4, 2)).double().requires_grad_()]
    assert torch.autograd.gradcheck(deviation_of_kl, inputs)
    assert torch.autograd.gradgradcheck(deviation_of_kl, inputs)


def test_off_diagonal():
    square = torch.arange(9).view(3, 3)
    assert off_diagonal(square).tolist() == [[1, 2], [3, 5], [6, 7]]


def test_mae_against_the_formula_pair_by_pair():
    torch.manual_seed(0)
    mean, scale, eta, gamma = torch.randn(6, 3), 0.5 + torch.rand(6, 3), 2.0, 0.7
    posteriors = [Normal(m, s) for m, s in zip(mean, scale, strict=True)]
    pairs = [kl_divergence(p, q) for p in posteriors for q in posteriors if p is not q]
    per_latent = torch.stack(pairs).mean(0)
    even = torch.stack([pair.sum() for pair in pairs]).std()
    slow = gamma * even - eta * sum(math.log(1 / (1 + math.exp(-m / eta))) for m in per_latent.tolist())
    term = MAE(eta, gamma).term(drawn(mean, scale, samples=2), None)
    assert term.tolist() == pytest.approx([slow.item()] * 6, rel=1e-5)


def test_floor_is_on_the_mean_of_the_whole_kl():
    kl = torch.tensor([[0.0, 2.0], [1.0, 0.0], [0.0, 0.0]], requires_grad=True)
    assert MAE(floor=0.9).rate(kl).sum(1).mean().item() == pytest.approx(1.0)
    below = MAE(floor=1.5).rate(kl).sum(1).mean()
    assert below.item() == pytest.approx(1.5)
    assert (torch.autograd.grad(below, kl)[0] == 0).all()
    assert MAE().rate(kl) is kl


def test_equal_posteriors_have_a_finite_gradient():
    mean = torch.zeros(5, 3, requires_grad=True)
    scale = torch.ones(5, 3, requires_grad=True)
    MAE(1.0, 1.0).term(drawn(mean, scale), None).mean().backward()
    assert mean.grad.isfinite().all()
    assert scale.grad.isfinite().all()


def test_at_collapse_a_large_gamma_wins():
    # one latent begins to move: eta's part gains 1/2 a nat of mean divergence, gamma's loses sqrt(2)
    torch.manual_seed(0)
    one = drawn(0.01 * torch.randn(3000, 1), torch.ones(3000, 1))
    divergence = mean_pairwise_kl(*one.q.base_dist.loc.unsqueeze(0), one.q.base_dist.scale).item()
    gain = math.log(2) - MAE(1.0, 0.0).term(one, None)[0].item()
    loss = MAE(0.0, 1.0).term(one, None)[0].item()
    assert gain / divergence == pytest.approx(0.5, rel=0.05)
    assert loss / divergence == pytest.approx(math.sqrt(2), rel=0.1)


def test_mean_divergence_is_above_the_information():
    torch.manual_seed(0)
    mean, scale = torch.randn(400, 2), torch.full((400, 2), 0.7)
    z = mean + scale * torch.randn(400, 2)
    scores = pairwise_log_prob(z, mean, scale)
    information = (scores.diag() - log_mean_exp(scores, 1)).mean()
    assert 0.5 < information < mean_pairwise_kl(mean, scale).sum()


def test_mae_needs_gaussian_posteriors():
    q = Independent(torch.distributions.Laplace(torch.zeros(4, 2), torch.ones(4, 2)), 1)
    with pytest.raises(Unsupported, match="MAE needs a diagonal Gaussian"):
        MAE().term(Draw(torch.zeros(4, 2), q, q.rsample((1,)), None, standard_normal(2)), None)


@pytest.mark.parametrize("arguments", [{"eta": -1.0}, {"gamma": -1.0}, {"floor": -1.0}])
def test_arguments_of_mae_are_checked(arguments):
    with pytest.raises(BadInput, match=next(iter(arguments))):
        MAE(**arguments)


RUNS = {
    "none": ([], 300),
    "MMD": ([MMD(1.0, 10.0)], 600),
    "MMD, weak": ([MMD(1.0, 1.0)], 300),
    "MMD, KL kept": ([MMD(0.0, 10.0)], 300),
    "MAE": ([MAE(10.0, 0.1)], 300),
    "MAE, large gamma": ([MAE(10.0, 0.5)], 300),
    "MAE, floor alone": ([MAE(0.0, 0.0, floor=4.0)], 300),
    "MAE, floor": ([MAE(1.0, 0.0, floor=4.0)], 300),
}


@cache
def trained(name):
    """Codes of 1,000 images; without help the best model of this data is a collapsed one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        remedies, steps = RUNS[name]
        model, objective = ToyModel(scale=2.0), Objective(remedies)
        x = Prototypes().sample(1000, seed=1)[0]
        optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
        for _ in range(steps):
            terms = objective(draw(model, x[torch.randint(len(x), (64,))]), model)
            optimiser.zero_grad()
            sum(term.mean() for term in terms.values()).backward()
            optimiser.step()
            objective.after_step(model)
        return Codes.of(model, x)


def information(name):
    return metrics.mutual_information(trained(name)).lower.value


def mismatch(name):
    return metrics.kl(trained(name)).joint_mismatch.value


def test_mmd_raises_information():
    assert information("none") < 0.05
    assert information("MMD") > 2.5


def test_without_the_kl_the_prior_is_held_by_mmd_alone():
    assert mismatch("MMD, weak") > 5.0 > mismatch("MMD")


def test_mmd_beside_the_whole_kl_raises_nothing():
    assert information("MMD, KL kept") < 0.1


def test_mae_raises_information():
    assert information("MAE") > 2.0


def test_a_large_gamma_keeps_the_model_collapsed():
    assert information("MAE, large gamma") < 0.05


def test_mae_adds_to_its_floor():
    assert information("MAE, floor alone") > 1.5
    assert information("MAE, floor") > information("MAE, floor alone") + 0.3
