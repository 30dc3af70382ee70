"""Every remedy on posteriors of extreme scales and decoders of extreme logits, against sums that take no short cut."""

import copy
import inspect
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.distributions import Independent, Normal

from uncollapse import remedies
from uncollapse.distributions import FixedGaussian, bernoulli, standard_normal
from uncollapse.draw import VAE, Draw
from uncollapse.errors import UncollapseError
from uncollapse.remedies import MAE, MMD, FreeBits, Remedy, SelfCritic
from uncollapse.testing.extremes import examples, gaussians, seeds

X = 16

#: Ways to build every remedy for B examples of 16 pixels and D latents.
MADE = {
    "Aggressive": lambda d, m: remedies.Aggressive(window=2, most=3),
    "Anneal": lambda d, m: remedies.Anneal(over=10, start=0.5),
    "Beta": lambda d, m: remedies.Beta(4.0),
    "Capacity": lambda d, m: remedies.Capacity(3.0, 10.0),
    "Capacity per example": lambda d, m: remedies.Capacity(3.0, 10.0, mode="per_example"),
    "ControlVAE": lambda d, m: remedies.ControlVAE(3.0),
    "Cyclical": lambda d, m: remedies.Cyclical(over=40),
    "FreeBits": lambda d, m: FreeBits(0.5),
    "FreeBits of a batch": lambda d, m: FreeBits(0.5, "batch_mean"),
    "FreeBits of examples": lambda d, m: FreeBits(0.5, "per_example"),
    "GECO": lambda d, m: remedies.GECO(5.0, start=2.0),
    "HybridCritic": lambda d, m: remedies.HybridCritic(8, d, trunk="encoder.trunk"),
    "HybridCritic, binary": lambda d, m: remedies.HybridCritic(8, d, trunk="encoder.trunk", kind="binary"),
    "LatentReconstruction": lambda d, m: remedies.LatentReconstruction(),
    "LatentReconstruction of codes": lambda d, m: remedies.LatentReconstruction(source="posterior", share=1.0),
    "MAE": lambda d, m: MAE(),
    "MAE, deviation": lambda d, m: MAE(eta=0.0, gamma=1.0),
    "MINE": lambda d, m: remedies.MINE((X,), d, pairs="all"),
    "MMD": lambda d, m: MMD(),
    "MMD, imq": lambda d, m: MMD(kernel="imq", scales=(0.1, 1.0, 10.0), statistic="v"),
    "MMD, median": lambda d, m: MMD(bandwidth="median"),
    "MomentumContrast": lambda d, m: remedies.MomentumContrast(m.encoder, d, augment="bits"),
    "MomentumContrast, queue": lambda d, m: remedies.MomentumContrast(m.encoder, d, augment="bits", queue=8),
    "NeuralCritic": lambda d, m: remedies.NeuralCritic((X,), d),
    "NeuralCritic, binary": lambda d, m: remedies.NeuralCritic((X,), d, kind="binary", learn_temperature=True),
    "NeuralCritic, raw": lambda d, m: remedies.NeuralCritic((X,), d, temperature="raw"),
    "Rescue": lambda d, m: remedies.Rescue(pretrain=4, anneal=6),
    "SelfCritic": lambda d, m: SelfCritic(),
    "SelfCritic, both": lambda d, m: SelfCritic(direction="both", temperature=2.0),
    "SelfCritic, binary": lambda d, m: SelfCritic(kind="binary"),
    "SelfCritic, mean": lambda d, m: SelfCritic(compare="mean", direction="z"),
    "SelfCritic, memory": lambda d, m: SelfCritic(memory=20, latent=d),
    "SelfCritic, candidates": lambda d, m: SelfCritic(candidates=100),
    "TargetRate": lambda d, m: remedies.TargetRate(3.0),
}


class Encoder(nn.Module):
    """Means of a chosen size and scales of a chosen size; the input decides the rest."""

    def __init__(self, latent, size, scale):
        super().__init__()
        self.trunk, self.head = nn.Sequential(nn.Linear(X, 8), nn.Tanh()), nn.Linear(8, latent)
        self.size, self.level = size, nn.Parameter(torch.full((latent,), 2 * math.log(scale)))

    def forward(self, x):
        mean = self.size * self.head(self.trunk(x))
        return mean, self.level.to(mean).expand_as(mean)


class Decoder(nn.Module):
    def __init__(self, latent, size):
        super().__init__()
        self.layer, self.size = nn.Linear(latent, X), size

    def forward(self, z):
        return self.size * torch.tanh(self.layer(z))


def model_of(latent, size, scale, logits, gaussian=None):
    torch.manual_seed(0)
    read = bernoulli if gaussian is None else FixedGaussian(gaussian)
    return VAE(Encoder(latent, size, scale), Decoder(latent, logits), latent, read_x=read)


def passed(model, x, mean=None, scale=None, samples=2):
    """A draw; of posteriors (B, D) that are told if they are given."""
    torch.manual_seed(0)
    q = model.posterior(x)
    if mean is not None:
        zero = 0 * q.mean.sum()  # so that a gradient has somewhere to go
        q = Independent(Normal(mean.to(x) + zero, scale.to(x), validate_args=False), 1, validate_args=False)
    z = q.rsample((samples,))
    return Draw(x, q, z, model.likelihood(z), model.prior())


def exact(model, one):
    """The same numbers in float64."""
    model = copy.deepcopy(model).double()
    q = Independent(Normal(one.q.mean.double(), one.q.stddev.double(), validate_args=False), 1, validate_args=False)
    return model, Draw(one.x.double(), q, one.z.double(), model.likelihood(one.z.double()), model.prior())


def test_every_remedy_is_here():
    exported = {n for n in remedies.__all__ if inspect.isclass(getattr(remedies, n)) and n not in ("Inner", "Remedy")}
    assert exported == {name.partition(",")[0].partition(" ")[0] for name in MADE}


@st.composite
def cases(draw):
    mean, scale = draw(gaussians((2, 9), (1, 3)))
    x = torch.rand(len(mean), X, generator=torch.Generator().manual_seed(draw(seeds()))).round()
    return mean, scale, x, draw(st.sampled_from([0.0, 1.0, 1e4]))


@pytest.mark.parametrize("name", MADE)
@given(cases())
@examples(6)
def test_terms_are_finite_and_those_of_float64(name, case):
    mean, scale, x, logits = case
    latent = mean.shape[1]
    model = model_of(latent, 1.0, 1.0, logits)
    remedy = MADE[name](latent, model)
    leaf = mean.clone().requires_grad_()
    one = passed(model, x, leaf, scale)
    torch.manual_seed(1)
    rate, term = remedy.rate(one.kl), remedy(one, model)
    assert rate.shape == one.kl.shape
    assert term.shape == (len(x),)
    assert rate.isfinite().all()
    assert term.isfinite().all()
    loss = rate.sum() + term.sum()
    if loss.requires_grad:
        loss.backward()
        slopes = [p.grad for p in (leaf, *model.parameters(), *remedy.parameters()) if p.grad is not None]
        assert all(slope.isfinite().all() for slope in slopes)
    if remedy.draws_noise:
        return
    other, wide = exact(model, one)
    again = copy.deepcopy(remedy).double()
    slow = again(wide, other)
    assert torch.allclose(term.double(), slow, rtol=1e-3, atol=2e-3 * max(1.0, 1e-2 * answers(again, wide)))
    assert torch.allclose(remedy.rate(one.kl).double(), again.rate(wide.kl), rtol=1e-4, atol=1e-4)


def answers(remedy, one):
    """How large the numbers are that a critic's network gives and the term takes the differences of."""
    found = remedy.scores(one, one.z) if isinstance(remedy, remedies.MINE) else ()
    return max((float(answer.detach().abs().max()) for answer in found), default=0.0)


@pytest.mark.parametrize("name", MADE)
@given(st.sampled_from([1e-8, 1.0, 1e4]), st.sampled_from([0.0, 1.0, 1e4]), st.sampled_from([1.0, 1e4]), seeds())
@examples(4)
def test_places_do_not_matter(name, scale, size, logits, seed):
    """Examples permute, samples of the code do not count by their order, and weight 0 is absence."""
    model = model_of(3, size, scale, logits)
    remedy = MADE[name](3, model).eval()
    model.eval()
    x = torch.rand(6, X, generator=torch.Generator().manual_seed(seed)).round()
    one = passed(model, x)
    torch.manual_seed(1)
    term = remedy(one, model).detach()
    assert term.isfinite().all()
    if not remedy.draws_noise:
        order = torch.randperm(6)
        q = model.posterior(x[order])
        z = one.z[:, order]
        turned = Draw(x[order], q, z, model.likelihood(z), one.prior)
        flipped = Draw(x, one.q, one.z.flip(0), model.likelihood(one.z.flip(0)), one.prior)
        spread = 1e-3 * (1 + float(term.abs().max()))
        assert torch.allclose(remedy(turned, model), term[order], rtol=1e-3, atol=spread)
        assert torch.allclose(remedy(flipped, model), term, rtol=1e-3, atol=spread)
    if remedy.has_term:
        none = copy.deepcopy(remedy)
        none.weight = lambda step: 0.0
        assert (none(one, model) == 0).all()


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", MADE)
def test_half_precision(name, kind):
    """On one and the same pass a remedy under autocast says what it says without, but for its networks' rounding."""
    for scale, size in ((1e-8, 1.0), (1.0, 1.0), (1e4, 1e3)):
        model = model_of(3, size, scale, 1.0)
        remedy = MADE[name](3, model)
        one = passed(model, torch.rand(6, X).round())
        torch.manual_seed(1)
        term = remedy(one, model).detach()
        torch.manual_seed(1)
        try:
            with torch.autocast("cpu", kind):
                half = remedy(one, model)
        except UncollapseError:
            continue
        assert half.dtype == torch.float32
        own = ("Critic" in name and "Self" not in name) or name[:4] in ("MINE", "Mome", "Late")
        if scale == 1e4 and own and kind is torch.float16:
            continue  # codes beyond 65,504 in a network of half precision: see docs/numerics.md
        assert half.isfinite().all()
        close = (0.1, 0.1 * (1 + float(term.abs().max()))) if own else (1e-5, 1e-5)
        assert torch.allclose(half, term, rtol=close[0], atol=close[1])


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize(("rows", "latent"), [(2, 1), (3, 4096)])
def test_narrow_and_wide(name, rows, latent):
    for scale in (1e-8, 1.0, 1e4):
        model = model_of(latent, 1.0, scale, 1.0)
        remedy = MADE[name](latent, model)
        one = passed(model, torch.rand(rows, X).round(), samples=1)
        loss = remedy(one, model) + remedy.rate(one.kl).sum(1)
        assert loss.shape == (rows,)
        assert loss.isfinite().all()
        loss.sum().backward()
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", MADE)
def test_one_example_works_or_is_refused(name):
    model = model_of(3, 1.0, 1e-8, 1e4)
    remedy = MADE[name](3, model)
    try:
        term = remedy(passed(model, torch.ones(1, X)), model)
    except UncollapseError:
        return
    assert term.isfinite().all()


def log_densities(z, mean, scale):
    """log q(z_i|x_j), (B, B), by differences in float64."""
    z, mean, scale = z.double(), mean.double(), scale.double()
    distance = ((z[:, None] - mean) / scale).square().sum(2)
    return -0.5 * distance - scale.log().sum(1) - 0.5 * mean.shape[1] * math.log(2 * math.pi)


@given(gaussians((2, 12), (1, 3, 33)), st.sampled_from(["x", "z", "both"]), st.sampled_from(["multisample", "binary"]))
@examples(60)
def test_self_critic(gaussian, direction, kind):
    mean, scale = gaussian
    model = model_of(mean.shape[1], 1.0, 1.0, 1.0)
    one = passed(model, torch.ones(len(mean), X), mean, scale, samples=1)
    found = SelfCritic(direction=direction, kind=kind)(one, model).double()
    s = log_densities(one.z[0].detach(), mean, scale)
    if kind == "multisample":
        parts = {"x": s.logsumexp(1) - s.diagonal(), "z": s.logsumexp(0) - s.diagonal()}
    else:
        s = s - (s.logsumexp(1, keepdim=True) - math.log(len(s)))
        wrong = nn.functional.softplus(s)
        right = nn.functional.softplus(-s.diagonal())
        parts = {a: right + (wrong.sum(d) - wrong.diagonal()) / (len(s) - 1) for a, d in (("x", 1), ("z", 0))}
    slow = parts[direction] if direction in parts else 0.5 * (parts["x"] + parts["z"])
    assert torch.allclose(found, slow, rtol=1e-5, atol=1e-3)


@given(gaussians((2, 12), (1, 3, 33)), st.sampled_from([(1.0, 0.0), (0.0, 1.0), (1.0, 0.1)]))
@examples(60)
def test_mae(gaussian, weights):
    mean, scale = gaussian
    model = model_of(mean.shape[1], 1.0, 1.0, 1.0)
    one = passed(model, torch.ones(len(mean), X), mean, scale)
    eta, gamma = weights
    m, s = mean.double(), scale.double()
    kl = 0.5 * (((m[:, None] - m) / s).square() + (s[:, None] / s).square() - 1) - s[:, None].log() + s.log()
    off = ~torch.eye(len(m), dtype=torch.bool)
    slow = -eta * nn.functional.logsigmoid(kl[off].mean(0) / eta).sum() if eta else 0.0
    slow = slow + (gamma * kl.sum(2)[off].std() if gamma else 0.0)
    found = MAE(eta=eta, gamma=gamma)(one, model)
    room = 1e-3 + 3.2e-7 * float(kl.sum(2)[off].mean())  # a deviation below that share of the mean counts as 0
    assert torch.allclose(found.double(), torch.as_tensor(slow).double(), rtol=1e-4, atol=room)


@given(gaussians((2, 12), (1, 3, 33)), st.sampled_from(["rbf", "imq"]), st.sampled_from(["u", "v"]))
@examples(60)
def test_mmd(gaussian, kernel, statistic):
    mean, scale = gaussian
    model = model_of(mean.shape[1], 1.0, 1.0, 1.0)
    one = passed(model, torch.ones(len(mean), X), mean, scale, samples=1)
    torch.manual_seed(1)
    found = MMD(kernel=kernel, statistic=statistic, lam=1.0)(one, model).double()
    torch.manual_seed(1)
    z, y = one.z[0].detach().double(), standard_normal(mean.shape[1]).rsample((len(mean),)).double()
    width = mean.shape[1] ** 2 if kernel == "rbf" else 2 * mean.shape[1]

    def k(a, b):
        ratio = (a[:, None] - b).square().sum(2) / width
        return (-ratio).exp() if kernel == "rbf" else 1 / (1 + ratio)

    def among(a):
        return k(a, a).mean(1) if statistic == "v" else (k(a, a).sum(1) - 1) / (len(a) - 1)

    assert torch.allclose(found, among(z) - 2 * k(z, y).mean(1) + among(y).mean(), atol=1e-3)


@given(gaussians((2, 9), (1, 3, 33)), st.sampled_from([0.0, 0.5, 100.0]))
@examples(40)
def test_free_bits(gaussian, floor):
    mean, scale = gaussian
    kl = 0.5 * (mean.double().square() + scale.double().square() - 1) - scale.double().log()
    slow = {
        "per_dimension": kl.clamp(min=floor).sum(1).mean(),
        "batch_mean": kl.mean(0).clamp(min=floor).sum(),
        "per_example": kl.sum(1).clamp(min=floor).mean(),
    }
    for mode, value in slow.items():
        found = FreeBits(floor, mode).rate(kl.float()).sum(1).mean()
        assert float(found) == pytest.approx(float(value), rel=1e-4, abs=1e-4)


def test_subclasses_are_seen():
    assert all(isinstance(make(3, model_of(3, 1.0, 1.0, 1.0)), Remedy) for make in MADE.values())
