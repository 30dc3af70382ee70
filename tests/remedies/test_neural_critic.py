import math

import pytest
import torch
from torch import nn

from uncollapse import VAE, draw
from uncollapse.distributions import FixedGaussian
from uncollapse.errors import BadInput, ShapeError
from uncollapse.remedies import HybridCritic, NeuralCritic
from uncollapse.testing import Prototypes, ToyModel


@pytest.fixture
def model():
    torch.manual_seed(0)
    return ToyModel(scale=0.5)


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


def cosines_by_loops(g, h):
    return torch.stack(
        [torch.stack([torch.cosine_similarity(g[i], h[j], 0) / 0.07 for j in range(6)]) for i in range(6)]
    )


def test_both_critics_by_loops(one, model):
    for critic, embed_x in (
        (neural(), lambda c: c.x_tower(one.x)),
        (hybrid(), lambda c: c.x_head(model.encoder.trunk(one.x))),
    ):
        total = torch.zeros(6)
        for z in one.z:
            s = cosines_by_loops(critic.z_tower(z), embed_x(critic))
            total += (torch.logsumexp(s, 1) + torch.logsumexp(s, 0)) / 2 - s.diag()
        torch.testing.assert_close(critic.term(one, model), total / 3, rtol=1e-4, atol=1e-5)


def test_both_critics_on_the_model_side_by_loops(one, model):
    for critic, embed_x in (
        (neural(side="model", direction="x"), lambda c, x: c.x_tower(x)),
        (hybrid(side="model", direction="x"), lambda c, x: c.x_head(model.encoder.trunk(x))),
    ):
        torch.manual_seed(3)
        term = critic.term(one, model)
        torch.manual_seed(3)
        z = model.prior().rsample((6,))
        s = cosines_by_loops(critic.z_tower(z), embed_x(critic, model.likelihood(z).rsample()))
        torch.testing.assert_close(term, torch.logsumexp(s, 1) - s.diag(), rtol=1e-4, atol=1e-5)


class Line(nn.Module):
    """q(z|x) = N(rho x, 1 - rho²): with x from N(0, 1), two correlated standard normals."""

    def forward(self, x):
        return 0.9 * x, torch.full_like(x, math.log(1 - 0.81))


def test_a_trained_binary_critic_knows_the_log_ratio():
    torch.manual_seed(0)
    model = VAE(Line(), nn.Linear(1, 1), 1, read_x=FixedGaussian(1.0))
    critic = NeuralCritic((1,), 1, kind="binary", embed=16, hidden_x=64)
    optimiser = torch.optim.Adam(critic.parameters(), 1e-2)
    for _ in range(300):
        loss = critic.term(draw(model, torch.randn(128, 1)), model).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        one = draw(model, torch.randn(2000, 1))
        x, z, got = one.x[:, 0], one.z[0, :, 0], critic.log_ratio(one, model)
    information = -0.5 * math.log(1 - 0.81)
    true = information - (0.81 * (x**2 + z**2) - 1.8 * x * z) / (2 * (1 - 0.81))
    assert got.mean().item() == pytest.approx(information, abs=0.15)
    assert (got - true).square().mean().sqrt() < 0.5 < true.std()


def test_on_the_model_side_the_decoder_learns_and_the_encoder_does_not(one, model):
    critic = neural(side="model")
    assert not critic.reaches_encoder
    critic.term(one, model).sum().backward()
    assert all(p.grad.abs().max() > 0 for p in model.decoder.parameters())
    assert all(p.grad is None for p in model.encoder.parameters())


def test_a_detached_critic_would_teach_nobody():
    with pytest.raises(BadInput, match="nothing of the model"):
        neural(side="model", gradient="detached")


@pytest.mark.parametrize("make", [neural, hybrid])
@pytest.mark.parametrize("bad", [{"embed": 0}, {"hidden_x": 2.5}, {"hidden_z": True}])
def test_bad_widths_are_refused(make, bad):
    with pytest.raises(BadInput, match="positive whole number"):
        make(**bad)


def test_towers():
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
def test_a_critic_of_other_sizes_is_one_sentence(shape, latent, tower):
    model = VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4)
    with pytest.raises(ShapeError, match=f"the {tower} does not take"):
        NeuralCritic(shape, latent)(draw(model, torch.rand(6, 16)), model)
