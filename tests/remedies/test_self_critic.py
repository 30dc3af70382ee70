import math

import pytest
import torch
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal

from uncollapse import VAE, Draw, draw
from uncollapse.distributions import standard_normal
from uncollapse.errors import BadInput, Unsupported
from uncollapse.functional import info_nce, log_mean_exp, pairwise_log_prob
from uncollapse.remedies import NeuralCritic, SelfCritic
from uncollapse.remedies.memory import counted
from uncollapse.testing import LinearVAE, Prototypes, ToyModel


@pytest.fixture
def model():
    torch.manual_seed(0)
    return ToyModel(scale=0.5)


@pytest.fixture
def one(model):
    torch.manual_seed(1)
    return draw(model, Prototypes().sample(6)[0], samples=3)


def densities_by_loops(q, z):
    s = torch.zeros(6, 6, dtype=torch.float64)
    for i in range(6):
        for j in range(6):
            gap = (z[i].double() - q.loc[j].double()) / q.scale[j].double()
            log_density = -0.5 * gap.square() - q.scale[j].double().log() - 0.5 * math.log(2 * math.pi)
            s[i, j] = log_density.sum()
    return s.detach()


def multisample_by_loops(s, direction):
    over_x, over_z = torch.logsumexp(s, 1) - s.diag(), torch.logsumexp(s, 0) - s.diag()
    return {"x": over_x, "z": over_z, "both": (over_x + over_z) / 2}[direction]


def binary_by_loops(s, direction):
    term = torch.zeros(6, dtype=torch.float64)
    for i in range(6):
        term[i] = math.log(1 + math.exp(-s[i, i]))
        for j in set(range(6)) - {i}:
            row, column = (math.log(1 + math.exp(one)) / 5 for one in (s[i, j], s[j, i]))
            term[i] += {"x": row, "z": column, "both": (row + column) / 2}[direction]
    return term


@pytest.mark.parametrize("direction", ["x", "z", "both"])
@pytest.mark.parametrize("compare", ["sample", "mean"])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_multisample_by_loops(one, model, direction, compare, temperature):
    term = SelfCritic(direction=direction, compare=compare, temperature=temperature).term(one, model)
    zs = one.z if compare == "sample" else one.q.mean[None]
    each = [multisample_by_loops(densities_by_loops(one.q.base_dist, z) / temperature, direction) for z in zs]
    torch.testing.assert_close(term.double(), torch.stack(each).mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("direction", ["x", "z", "both"])
@pytest.mark.parametrize("compare", ["sample", "mean"])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_binary_by_loops(one, model, direction, compare, temperature):
    critic = SelfCritic(direction=direction, compare=compare, temperature=temperature, kind="binary")
    each = []
    for z in one.z if compare == "sample" else one.q.mean[None]:
        s = densities_by_loops(one.q.base_dist, z)
        marginal = torch.tensor([[math.log(sum(math.exp(s[i, k]) for k in range(6)) / 6)] for i in range(6)])
        each.append(binary_by_loops((s - marginal) / temperature, direction))
    torch.testing.assert_close(critic.term(one, model).double(), torch.stack(each).mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["multisample", "binary"])
def test_model_side_by_loops(one, model, kind):
    critic = SelfCritic(side="model", kind=kind)
    torch.manual_seed(3)
    term = critic.term(one, model)
    torch.manual_seed(3)
    z = model.prior().rsample((6,))
    s = densities_by_loops(model.posterior(model.likelihood(z).rsample()).base_dist, z)
    if kind == "binary":
        s = s - torch.stack([-0.5 * (z[i].double().square() + math.log(2 * math.pi)).sum() for i in range(6)])[:, None]
    slow = multisample_by_loops(s, "x") if kind == "multisample" else binary_by_loops(s, "x")
    torch.testing.assert_close(term.double(), slow, rtol=1e-4, atol=1e-4)


def test_multisample_is_the_sampled_estimate_of_information(one, model):
    for k in range(3):
        z = one.z[k]
        log_q = torch.stack([one.q.log_prob(z[i].expand(6, 4)) for i in range(6)])
        sampled = (log_q.diag() - log_mean_exp(log_q, 1)).mean()
        single = type(one)(one.x, one.q, z[None], one.px, one.prior)
        critic = SelfCritic().term(single, model).mean()
        assert math.log(6) - critic.item() == pytest.approx(sampled.item(), abs=1e-5)


def linear(scale=1.0, noise=0.5):
    """A linear Gaussian model whose exact posterior factorises: the columns of its weight are orthogonal."""
    weight = torch.eye(5, 2, dtype=torch.float64) * torch.tensor([1.0, 0.6], dtype=torch.float64)
    return LinearVAE(weight * scale, noise, posterior="diagonal")


def test_model_side_binary_is_the_exact_ratio_where_the_posterior_is_exact():
    model = linear()
    one = draw(model, model.simulate(3000))
    critic = SelfCritic(side="model", kind="binary")
    torch.manual_seed(4)
    ratio = critic.log_ratio(one, model)
    torch.manual_seed(4)
    z = model.prior().rsample((3000,))
    x = model.likelihood(z).rsample()
    torch.testing.assert_close(ratio, model.likelihood(z).log_prob(x) - model.log_evidence(x), rtol=1e-5, atol=1e-5)
    assert ratio.mean().item() == pytest.approx(model.information(), abs=0.06)


def test_inference_side_binary_is_the_ratio_to_the_aggregate_posterior():
    model = linear()
    one = draw(model, model.simulate(3000))
    aggregate = (model.gain @ model.data_covariance() @ model.gain.T + model.covariance).diagonal()
    marginal = Independent(Normal(torch.zeros_like(aggregate), aggregate.sqrt()), 1)
    ratio = SelfCritic(kind="binary").log_ratio(one, model)
    exact = one.q.log_prob(one.z[0]) - marginal.log_prob(one.z[0])
    assert (ratio - exact).abs().mean() < 0.05  # at the rim few posteriors of the batch are near
    assert ratio.mean().item() == pytest.approx(model.information(), abs=0.06)


@pytest.mark.parametrize("gradient", ["reparametrised", "straight_through"])
@pytest.mark.parametrize("kind", ["multisample", "binary"])
def test_model_side_raises_the_information_of_a_linear_model(kind, gradient):
    scale = torch.tensor(0.3, dtype=torch.float64).requires_grad_()
    optimiser = torch.optim.Adam([scale], lr=0.1)
    critic = SelfCritic(side="model", kind=kind, gradient=gradient)
    torch.manual_seed(5)
    information, bounds = [], []
    for _ in range(20):
        model = linear(scale)
        information.append(linear(scale.detach()).information())
        term = critic.term(draw(model, model.simulate(256)), model).mean()
        optimiser.zero_grad()
        term.backward()
        optimiser.step()
        bounds.append((math.log(256) if kind == "multisample" else 2 * math.log(2)) - term.item())
    assert information[0] < 0.2
    assert information[-1] > 1.5
    assert all(bound < true + 0.2 for bound, true in zip(bounds, information, strict=True))  # the noise of a batch


def test_detached_pairs_train_the_encoder_and_not_the_decoder(one, model):
    SelfCritic(side="model", gradient="detached").term(one, model).sum().backward()
    assert all(p.grad.abs().max() > 0 for p in model.encoder.parameters())
    assert all(p.grad is None for p in model.decoder.parameters())


def constant(raw):
    return Independent(Normal(4 + 0 * raw[:, :4], 1 + 0 * raw[:, :4]), 1)


def test_a_constant_posterior_far_from_the_prior_is_not_informative():
    model = VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4, read_q=constant)
    one, critic = draw(model, Prototypes().sample(64)[0]), SelfCritic(kind="binary")
    assert one.kl.sum(1).mean().item() == pytest.approx(32)
    torch.testing.assert_close(critic.log_ratio(one, model), torch.zeros(64), atol=1e-5, rtol=0)
    torch.testing.assert_close(critic.term(one, model), torch.full((64,), 2 * math.log(2)))


def test_other_families_are_refused():
    def full(raw):
        return MultivariateNormal(raw[:, :2], torch.eye(2))

    model = VAE(nn.Linear(16, 2), nn.Linear(2, 16), latent=2, read_q=full)
    one = draw(model, Prototypes().sample(4)[0])
    with pytest.raises(Unsupported, match="SelfCritic needs a diagonal Gaussian"):
        SelfCritic().term(one, model)
    assert NeuralCritic((16,), 2).term(one, model).shape == (4,)


def test_an_empty_memory_is_the_batch_alone_and_a_full_one_has_its_ceiling(one, model):
    critic = SelfCritic(memory=12, latent=4)
    torch.testing.assert_close(critic.term(one, model), SelfCritic().term(one, model), rtol=1e-4, atol=1e-4)
    assert critic.ceiling(6) == math.log(18)
    critic.after_step(model)
    assert (critic.term(one, model) > SelfCritic().term(one, model)).all()  # six candidates more


def test_counted_candidates_weigh_more(one, model):
    q = one.q.base_dist
    scores = [counted(pairwise_log_prob(z, q.loc, q.scale), 100) for z in one.z]
    expected = torch.stack([info_nce(s) for s in scores]).mean(0)
    critic = SelfCritic(candidates=100)
    torch.testing.assert_close(critic.term(one, model), expected)
    assert critic.ceiling(6) is None
    assert "candidates=100" in repr(critic)


@pytest.mark.parametrize(
    "given",
    [
        {"memory": 12},
        {"memory": 12, "latent": 4, "direction": "z"},
        {"memory": 12, "latent": 4, "temperature": 2.0},
        {"memory": 12, "latent": 4, "kind": "binary"},
        {"memory": 12, "latent": 4, "candidates": 50},
        {"kind": "binary", "candidates": 50},
    ],
)
def test_choices_that_do_not_go_together(given):
    with pytest.raises(BadInput):
        SelfCritic(**given)


@pytest.mark.parametrize("memory", [0, 20])
def test_twins_far_from_the_prior_are_told_apart_by_nobody(memory):
    """Scales 1e-13 of the distances: products of float64 would find one twin nearer than another."""
    mean = torch.tensor([[513665.375], [-97809.6328], [513665.375], [513665.375], [513665.375]])
    q = Independent(Normal(mean, torch.full_like(mean, 5.4e-8)), 1)
    one = Draw(torch.zeros(5, 3), q, mean[None], None, standard_normal(1))
    remedy = SelfCritic(memory=memory, latent=1)
    found = remedy(one, None)
    assert found.tolist() == pytest.approx([math.log(4), 0, math.log(4), math.log(4), math.log(4)], abs=1e-5)
