"""Refined inference: against an unrolled loop, finite differences and the exact posterior of a linear model."""

import copy

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal, kl_divergence

from uncollapse import VAE, Codes, Objective, draw
from uncollapse.distributions import gaussian
from uncollapse.draw import Draw
from uncollapse.errors import BadInput, Unsupported
from uncollapse.metrics import mutual_information, nll
from uncollapse.remedies import Beta
from uncollapse.testing import LinearVAE, Prototypes, ToyModel
from uncollapse.wrappers import FlowPrior, SemiAmortised, VampPrior, VonMisesFisher
from uncollapse.wrappers.amortised import clipped


@pytest.fixture(scope="module")
def toy():
    """A model after some training, and its data."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x = ToyModel(scale=0.5), Prototypes().sample(1000, seed=1)[0]
        trained(model, x, 150)
        return model, x


def trained(model, x, steps, remedies=()):
    objective, optimiser = Objective(remedies), torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(steps):
        terms = objective(draw(model, x[torch.randint(len(x), (64,))]), model)
        optimiser.zero_grad()
        sum(term.mean() for term in terms.values()).backward()
        optimiser.step()


def bound(model, x, mean, log_variance, samples=500):
    """ELBO of every example with many samples, the same at every call."""
    torch.manual_seed(5)
    z = mean + (0.5 * log_variance).exp() * torch.randn(samples, *mean.shape)
    q = gaussian((mean, log_variance))
    return Draw(x, q, z, model.likelihood(z), model.prior()).elbo


def parts(q):
    return q.base_dist.loc, 2 * q.base_dist.scale.log()


def unrolled(model, x, steps, lr, momentum, clip):
    """The method once more, with plain tensors and one example at a time; noise is drawn as the wrapper draws it."""
    mean, log_variance = parts(model.posterior(x))
    rows = [[mean[i], log_variance[i]] for i in range(len(x))]
    speeds = [[torch.zeros_like(mean[i])] * 2 for i in range(len(x))]
    for _ in range(steps):
        noise = torch.randn(1, *mean.shape, dtype=mean.dtype)[0]
        for i in range(len(x)):
            z = rows[i][0] + (rows[i][1] / 2).exp() * noise[i]
            log_px = model.likelihood(z[None]).log_prob(x[i : i + 1]).sum()
            kl = 0.5 * (rows[i][0].square() + rows[i][1].exp() - 1 - rows[i][1]).sum()
            slopes = torch.autograd.grad(log_px - kl, rows[i], create_graph=True)
            slopes = [s * (clip / s.norm()) if s.norm() > clip else s for s in slopes]
            speeds[i] = [momentum * v + s for v, s in zip(speeds[i], slopes, strict=True)]
            rows[i] = [p + lr * v for p, v in zip(rows[i], speeds[i], strict=True)]
    return torch.stack([row[0] for row in rows]), torch.stack([row[1] for row in rows])


@pytest.mark.parametrize("clip", [1e9, 1.5])
@pytest.mark.parametrize("gradient", ["exact", "finite"])
def test_equals_the_unrolled_loop_and_so_does_its_gradient(toy, gradient, clip):
    model, x = copy.deepcopy(toy[0]).double(), toy[1][:5].double()
    wrapped = SemiAmortised(model, 4, 0.05, 0.5, clip, gradient, eps=1e-4)
    torch.manual_seed(3)
    ours = parts(wrapped.posterior(x))
    torch.manual_seed(3)
    theirs = unrolled(model, x, 4, 0.05, 0.5, clip)
    weights = list(model.parameters())
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-10)
    slopes = [torch.autograd.grad((m.sin() + v.square()).sum(), weights, allow_unused=True) for m, v in (ours, theirs)]
    for a, b in zip(*slopes, strict=True):
        assert torch.allclose(0 * b if a is None else a, b, rtol=1e-5, atol=1e-7)


def test_gradient_equals_finite_differences_of_the_loss(toy):
    model, x = copy.deepcopy(toy[0]).double(), toy[1][:5].double()
    wrapped = SemiAmortised(model, 5, 0.05)

    def loss():
        torch.manual_seed(7)
        return -draw(wrapped, x).elbo.mean()

    for weight in (model.encoder.head.weight, model.decoder.head.weight):
        (slope,) = torch.autograd.grad(loss(), weight)
        along = torch.randn_like(weight)
        with torch.no_grad():
            weight += 1e-6 * along
            up = loss()
            weight -= 2e-6 * along
            down = loss()
            weight += 1e-6 * along
        assert float((up - down) / 2e-6) == pytest.approx(float((slope * along).sum()), rel=1e-5)


def test_refinement_raises_the_bound_of_every_example(toy):
    model, x = toy[0], toy[1][:50]
    torch.manual_seed(0)
    rough = VAE(nn.Linear(16, 8), model.decoder, 4, read_x=model.read_x)  # an encoder that knows nothing
    with torch.no_grad():
        start = bound(model, x, *parts(rough.posterior(x)))
        end = bound(model, x, *parts(SemiAmortised(rough, 40, samples=20).posterior(x)))
    assert (end > start).all()
    assert end.mean() > start.mean() + 1.5


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_many_steps_reach_the_exact_posterior(sign):
    """Columns at right angles make the exact posterior of a linear model diagonal; the start is N(+-1, I)."""
    basis = torch.linalg.qr(torch.randn(5, 2, generator=torch.Generator().manual_seed(0))).Q
    exact = LinearVAE(basis * torch.tensor([1.5, 0.7]), noise=0.5)
    x = exact.simulate(20)

    class Away(LinearVAE):
        def posterior(self, x):
            mean = torch.full((len(x), 2), sign)
            return gaussian((mean, torch.zeros_like(mean)))

    torch.manual_seed(0)
    away = Away(exact.weight, noise=0.5)
    with torch.no_grad():
        q = SemiAmortised(away, 200, 0.05, samples=300).posterior(x)
    true = exact.posterior(x)
    assert torch.allclose(q.mean, true.mean, atol=0.05)
    assert torch.allclose(q.variance, true.variance, rtol=0.1)
    assert (kl_divergence(MultivariateNormal(q.mean, q.variance.diag_embed()), true) < 0.01).all()  # the gap


def test_examples_do_not_mix(toy, monkeypatch):
    """With the noise of each example kept, a batch gives what its parts give, whatever is clipped."""
    model, x = SemiAmortised(toy[0], 5, clip=1.0), toy[1][:6]
    noise = torch.randn(5, 1, 6, 4)
    queue = []
    monkeypatch.setattr(torch, "randn", lambda *shape, **kind: queue.pop(0))
    queue.extend(noise)
    whole = model.posterior(x).mean
    queue.extend(noise[:, :, [4, 1]])
    assert torch.allclose(whole[[4, 1]], model.posterior(x[[4, 1]]).mean, atol=1e-5)


def test_clipping_shortens_each_example_alone():
    slope = torch.tensor([[[3.0, 4.0], [0.3, 0.4]], [[0.0, 0.0], [6.0, 8.0]]], requires_grad=True)
    found = clipped(slope, 1.0)
    assert torch.allclose(found, torch.tensor([[[0.6, 0.8], [0.3, 0.4]], [[0.0, 0.0], [0.6, 0.8]]]))
    found.sum().backward()
    assert slope.grad.isfinite().all()
    assert clipped(slope, None) is slope


@pytest.mark.parametrize("gradient", ["exact", "finite", "own", "kl"])
def test_nothing_accumulates_and_evaluation_is_the_same(toy, gradient):
    model = SemiAmortised(copy.deepcopy(toy[0]), 3, gradient=gradient)
    x, means = toy[1][:4], []
    for context in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        torch.manual_seed(0)
        with context():
            q = model.posterior(x)
            means.append(q.mean.detach().clone())
            assert q.mean.requires_grad == (context is torch.enable_grad)
    assert torch.allclose(means[0], means[1], atol=1e-6)
    assert torch.equal(means[1], means[2])
    assert all(p.grad is None for p in model.parameters())


def test_own_gradient_is_that_of_the_encoders_bound(toy):
    model, x = copy.deepcopy(toy[0]), toy[1][:6]
    wrapped = SemiAmortised(model, 3, gradient="own")
    torch.manual_seed(2)
    loss = -draw(wrapped, x).elbo.mean()
    encoder, decoder = list(model.encoder.parameters()), list(model.decoder.parameters())
    ours = torch.autograd.grad(loss, [*encoder, *decoder])
    torch.manual_seed(2)
    mean, log_variance = parts(model.posterior(x))
    z = mean + (0.5 * log_variance).exp() * torch.randn(1, 6, 4)
    own = -Draw(x, gaussian((mean, log_variance)), z, model.likelihood(z), model.prior()).elbo.mean()
    for a, b in zip(ours, torch.autograd.grad(own, encoder), strict=False):
        assert torch.allclose(a, b, atol=1e-5)
    torch.manual_seed(2)
    refined = SemiAmortised(model, 3)  # the decoder sees the refined code
    with torch.no_grad():
        q = refined.posterior(x)
    z = q.rsample((1,))
    last = -Draw(x, q, z, model.likelihood(z), model.prior()).elbo.mean()
    for a, b in zip(ours[len(encoder) :], torch.autograd.grad(last, decoder), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_kl_gradient_draws_the_guess_to_the_refined_posterior(toy):
    model, x = copy.deepcopy(toy[0]), toy[1][:6]
    wrapped = SemiAmortised(model, 3, gradient="kl")
    torch.manual_seed(2)
    q = wrapped.posterior(x)
    encoder = list(model.encoder.parameters())
    ours = torch.autograd.grad(q.log_prob(q.mean.detach()).mean(), encoder)  # any loss: what it says is dropped
    end = gaussian(tuple(part.detach() for part in parts(q)))
    away = kl_divergence(model.posterior(x), end).mean()
    for a, b in zip(ours, torch.autograd.grad(away, encoder), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


class Dropping(nn.Module):
    """A decoder with dropout and batch normalisation."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 32), nn.BatchNorm1d(32), nn.Tanh(), nn.Dropout(0.5), nn.Linear(32, 16))

    def forward(self, z):
        return self.net(z)


def test_dropout_is_replayed_and_running_statistics_stay():
    torch.manual_seed(0)
    model, x = VAE(nn.Linear(16, 8), Dropping(), 4).double(), torch.rand(6, 16).round().double()
    slopes = []
    for gradient in ("exact", "finite"):
        wrapped = SemiAmortised(model, 2, gradient=gradient, eps=1e-4)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        torch.manual_seed(1)
        loss = wrapped.posterior(x).mean.square().sum()
        state = torch.get_rng_state()
        slopes.append(torch.autograd.grad(loss, list(model.parameters()), allow_unused=True))
        assert torch.equal(state, torch.get_rng_state())
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for a, b in zip(*slopes, strict=True):
        assert a is b is None or torch.allclose(a, b, rtol=1e-5, atol=1e-8)


def test_a_better_bound_and_more_information_where_the_encoder_lags(toy):
    """At scale 0.5 codes pay; after few steps the plain encoder has not found them all."""
    found = {}
    x = toy[1]
    for name in ("plain", "refined"):
        torch.manual_seed(0)
        model = ToyModel(scale=0.5)
        model = SemiAmortised(model, 5, 0.05) if name == "refined" else model
        trained(model, x, 250)
        codes = Codes.of(model, x)
        found[name] = mutual_information(codes).lower, nll(model, x[:200], samples=20)
    assert found["refined"][0] > found["plain"][0] + 0.2
    assert found["refined"][1] < found["plain"][1] - 0.1


def test_it_is_no_remedy_where_collapse_is_the_optimum(toy):
    torch.manual_seed(0)
    model = SemiAmortised(ToyModel(scale=2.0), 2)
    trained(model, toy[1], 150)
    assert mutual_information(Codes.of(model, toy[1])).upper < 0.1


def test_weight_on_the_kl_goes_into_the_bound(toy):
    model, x = toy
    with torch.no_grad():
        free, tight = (
            kl_divergence(SemiAmortised(model, 30, kl_weight=w, samples=20).posterior(x[:50]), model.prior()).mean()
            for w in (0.1, 1.0)
        )
    assert free > tight + 0.5
    trained(SemiAmortised(copy.deepcopy(model), 2, kl_weight=0.1), x, 3, [Beta(0.1)])


def test_it_goes_round_other_priors(toy):
    for inner in (
        VampPrior(copy.deepcopy(toy[0]), (16,), 5),
        FlowPrior(copy.deepcopy(toy[0]), kind="maf", hidden=(8,)),
    ):
        model = SemiAmortised(inner, 2)
        one = draw(model, toy[1][:5])
        assert one.kl.shape == (5, 1)
        (-one.elbo.mean()).backward()
        assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    "given",
    [{"steps": 0}, {"steps": 1.5}, {"samples": 0}, {"lr": 0.0}, {"clip": -1.0}, {"eps": 0.0}, {"momentum": 1.0},
     {"kl_weight": -1.0}, {"gradient": "none"}],
)  # fmt: skip
def test_bad_arguments(given):
    with pytest.raises(BadInput):
        SemiAmortised(ToyModel(), **given)


def test_other_families_are_refused():
    with pytest.raises(Unsupported, match="SemiAmortised needs a diagonal Gaussian"):
        SemiAmortised(VonMisesFisher(ToyModel(), 5.0)).posterior(torch.rand(3, 16))
