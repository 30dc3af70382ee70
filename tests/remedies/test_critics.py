import math

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

from uncollapse import VAE, draw
from uncollapse.errors import BadInput, ShapeError, Unsupported
from uncollapse.functional import log_mean_exp
from uncollapse.remedies import HybridCritic, NeuralCritic, SelfCritic
from uncollapse.testing import Prototypes, ToyModel


@pytest.fixture
def model():
    torch.manual_seed(0)
    return ToyModel()


@pytest.fixture
def one(model):
    torch.manual_seed(1)
    return draw(model, Prototypes().sample(6)[0], samples=3)


def neural(**given):
    torch.manual_seed(2)
    return NeuralCritic((16,), 4, **given)


def hybrid(**given):
    torch.manual_seed(2)
    return HybridCritic(32, 4, **given)


CRITICS = [SelfCritic, neural, hybrid]


def self_term_by_loops(one, direction, compare, temperature):
    q, zs = one.q.base_dist, one.z if compare == "sample" else one.q.mean[None]
    total = torch.zeros(6, dtype=torch.float64)
    for z in zs:
        s = torch.zeros(6, 6, dtype=torch.float64)
        for i in range(6):
            for j in range(6):
                gap = (z[i].double() - q.loc[j].double()) / q.scale[j].double()
                log_density = -0.5 * gap.square() - q.scale[j].double().log() - 0.5 * math.log(2 * math.pi)
                s[i, j] = log_density.sum() / temperature
        over_x, over_z = torch.logsumexp(s, 1) - s.diag(), torch.logsumexp(s, 0) - s.diag()
        total += {"x": over_x, "z": over_z, "both": (over_x + over_z) / 2}[direction]
    return total / len(zs)


@pytest.mark.parametrize("direction", ["x", "z", "both"])
@pytest.mark.parametrize("compare", ["sample", "mean"])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_self_critic_by_loops(one, model, direction, compare, temperature):
    term = SelfCritic(direction=direction, compare=compare, temperature=temperature).term(one, model)
    slow = self_term_by_loops(one, direction, compare, temperature)
    torch.testing.assert_close(term.double(), slow, rtol=1e-4, atol=1e-5)


def test_self_critic_is_the_sampled_estimate_of_information(one, model):
    for k in range(3):
        z = one.z[k]
        log_q = torch.stack([one.q.log_prob(z[i].expand(6, 4)) for i in range(6)])
        sampled = (log_q.diag() - log_mean_exp(log_q, 1)).mean()
        critic = SelfCritic().term(draw_of(one, k), model).mean()
        assert math.log(6) - critic.item() == pytest.approx(sampled.item(), abs=1e-5)


def draw_of(one, k):
    return type(one)(one.x, one.q, one.z[k : k + 1], one.px, one.prior)


def test_critics_by_loops(one, model):
    for critic, embed_x in (
        (neural(), lambda c: c.x_tower(one.x)),
        (hybrid(), lambda c: c.x_head(model.encoder.trunk(one.x))),
    ):
        h, total = embed_x(critic), torch.zeros(6)
        for z in one.z:
            g = critic.z_tower(z)
            s = torch.stack(
                [torch.stack([torch.cosine_similarity(g[i], h[j], 0) / 0.07 for j in range(6)]) for i in range(6)]
            )
            total += (torch.logsumexp(s, 1) + torch.logsumexp(s, 0)) / 2 - s.diag()
        torch.testing.assert_close(critic.term(one, model), total / 3, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", CRITICS)
def test_samples_are_averaged(one, model, make):
    critic = make()
    each = torch.stack([critic.term(draw_of(one, k), model) for k in range(3)])
    torch.testing.assert_close(critic.term(one, model), each.mean(0))


@pytest.mark.parametrize("make", CRITICS)
def test_means_do_not_depend_on_the_noise(one, model, make):
    critic = make(compare="mean")
    assert torch.equal(critic.term(one, model), critic.term(draw_of(one, 0), model))


@pytest.mark.parametrize("make", CRITICS)
def test_batch_of_one_is_refused(model, make):
    with pytest.raises(BadInput, match="at least two"):
        make().term(draw(model, Prototypes().sample(1)[0]), model)


@pytest.mark.parametrize("make", CRITICS)
def test_ceiling_is_log_b(make):
    assert make().ceiling(50) == pytest.approx(math.log(50), abs=1e-4)
    assert make().ceiling(50) <= math.log(50)


@pytest.mark.parametrize("make", CRITICS)
def test_term_is_float32_under_autocast(model, make):
    x = Prototypes().sample(6)[0]
    with torch.autocast("cpu", torch.bfloat16):
        term = make().term(draw(model, x), model)
    assert term.dtype == torch.float32
    term.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.encoder.parameters())


@pytest.mark.parametrize("make", CRITICS)
@pytest.mark.parametrize(
    "bad", [{"direction": "y"}, {"compare": "mode"}, {"temperature": 0.0}, {"temperature": "hot"}, {"weight": -1.0}]
)
def test_bad_choices_are_refused(make, bad):
    with pytest.raises(BadInput):
        make(**bad)


@pytest.mark.parametrize("make", [neural, hybrid])
@pytest.mark.parametrize("bad", [{"embed": 0}, {"hidden_x": 2.5}, {"hidden_z": True}])
def test_bad_widths_are_refused(make, bad):
    with pytest.raises(BadInput, match="positive whole number"):
        make(**bad)


def test_self_critic_refuses_other_families():
    def full(raw):
        return MultivariateNormal(raw[:, :2], torch.eye(2))

    model = VAE(nn.Linear(16, 2), nn.Linear(2, 16), latent=2, read_q=full)
    one = draw(model, Prototypes().sample(4)[0])
    with pytest.raises(Unsupported, match="SelfCritic needs a diagonal Gaussian"):
        SelfCritic().term(one, model)
    assert NeuralCritic((16,), 2).term(one, model).shape == (4,)


def test_hybrid_trunk_is_shared_and_registered_once(one, model):
    critic = hybrid()
    both = [*model.parameters(), *critic.parameters()]
    assert len({id(p) for p in both}) == len(both)
    assert not any("trunk" in name for name in critic.state_dict())
    alone = draw_of(one, 0)
    alone = type(one)(alone.x, alone.q, alone.z.detach(), alone.px, alone.prior)
    critic.term(alone, model).sum().backward()  # only the x side is left, and it runs through the trunk
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.encoder.trunk.parameters())
    assert all(p.grad is None for p in model.encoder.head.parameters())


def features_of(model, x):
    return model.encoder.trunk(x)


def test_hybrid_trunk_may_be_a_function(one, model):
    assert torch.equal(hybrid(trunk=features_of).term(one, model), hybrid().term(one, model))
    assert "features_of" in repr(hybrid(trunk=features_of))
    assert " at 0x" not in repr(hybrid(trunk=features_of))


def test_hybrid_says_what_is_wrong_with_the_trunk(one, model):
    with pytest.raises(BadInput, match=r"no 'encoder\.body'"):
        hybrid(trunk="encoder.body").term(one, model)
    with pytest.raises(BadInput, match="trained and saved twice"):
        hybrid(trunk=model.encoder.trunk)
    with pytest.raises(ShapeError, match="features=31"):
        HybridCritic(31, 4).term(one, model)


def test_neural_towers():
    x = torch.rand(3, 1, 8, 8)
    model = VAE(
        nn.Sequential(nn.Flatten(), nn.Linear(64, 8)), nn.Sequential(nn.Linear(4, 64), nn.Unflatten(1, (1, 8, 8))), 4
    )
    for tower in (None, "conv-small", nn.Sequential(nn.Flatten(), nn.Linear(64, 128))):
        assert NeuralCritic((1, 8, 8), 4, x_tower=tower).term(draw(model, x), model).shape == (3,)
    with pytest.raises(ShapeError, match="one vector per example"):
        NeuralCritic((1, 8, 8), 4, x_tower=nn.Identity()).term(draw(model, x), model)
    with pytest.raises(BadInput, match="conv-small"):
        NeuralCritic((1, 8, 8), 4, x_tower="conv-smal")
    with pytest.raises(ShapeError):
        NeuralCritic((), 4)


@pytest.mark.parametrize("make", [neural, hybrid])
def test_learned_temperatures_train(one, model, make):
    for given, name in (({"learn_temperature": True}, "score.log_scale"), ({"temperature": "raw"}, "score.multiplier")):
        critic = make(**given)
        critic.term(one, model).sum().backward(retain_graph=True)
        assert dict(critic.named_parameters())[name].grad.abs() > 0
    critic = make(learn_temperature=True)
    with torch.no_grad():
        critic.score.log_scale.fill_(9.0)
        critic.after_step(model)
    assert critic.score.kappa().item() == pytest.approx(100.0, rel=1e-5)
    assert critic.step == 1


@pytest.mark.parametrize(("shape", "latent", "tower"), [((15,), 4, "x_tower"), ((16,), 5, "z_tower")])
def test_a_neural_critic_of_other_sizes_is_one_sentence(shape, latent, tower):
    model = VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4)
    with pytest.raises(ShapeError, match=f"the {tower} does not take"):
        NeuralCritic(shape, latent)(draw(model, torch.rand(6, 16)), model)
