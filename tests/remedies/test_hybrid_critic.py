import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from uncollapse import VAE, Objective, draw
from uncollapse.errors import BadInput, ShapeError
from uncollapse.remedies import HybridCritic
from uncollapse.testing import Prototypes, ToyModel


@pytest.fixture
def x():
    return Prototypes().sample(6)[0]


@pytest.fixture
def model():
    torch.manual_seed(0)
    return ToyModel(scale=0.5)


def hybrid(features=32, **given):
    torch.manual_seed(2)
    return HybridCritic(features, 4, **given)


def features_of(model, x):
    return model.encoder.trunk(x)


def passes(part, job):
    """How often a part of the model is called by a job."""
    calls = []
    hook = part.register_forward_hook(lambda *_: calls.append(1))
    job()
    hook.remove()
    return len(calls)


def gradients(model, critic, x, keep):
    """Term and its gradients for all parameters, with or without what the encoder's pass has kept."""
    torch.manual_seed(3)
    term = critic.term(draw(model, x, keep=critic.keeps if keep else ()), model)
    weights = [*model.parameters(), *critic.parameters()]
    return [term, *torch.autograd.grad(term.sum(), weights, allow_unused=True)]


def sequential(*middle):
    torch.manual_seed(0)
    return VAE(nn.Sequential(nn.Linear(16, 32), *middle, nn.Linear(32, 8)), nn.Linear(4, 16), latent=4)


class Checkpointed(nn.Module):
    """An encoder that forgets its activations and computes them again in the backward pass."""

    def __init__(self, reentrant):
        super().__init__()
        self.trunk, self.head, self.reentrant = nn.Linear(16, 32), nn.Linear(32, 8), reentrant

    def body(self, x, anchor):
        return self.head(self.trunk(x).tanh())

    def forward(self, x):
        anchor = torch.zeros(1, requires_grad=True)  # without it the old form has no gradient at all
        return checkpoint(self.body, x, anchor, use_reentrant=self.reentrant)


MODELS = {
    "trunk": (lambda: ToyModel(scale=0.5), "encoder.trunk"),
    "layer where the trunk ends": (lambda: sequential(nn.Tanh()), "encoder.1"),
    "activation in place": (lambda: sequential(nn.ReLU(inplace=True)), "encoder.0"),
    "batch normalisation": (lambda: sequential(nn.BatchNorm1d(32), nn.ReLU()), "encoder.2"),
    "checkpoint": (lambda: VAE(Checkpointed(False), nn.Linear(4, 16), latent=4), "encoder.trunk"),
}


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_the_same_whether_or_not_the_pass_was_kept(name, x):
    make, trunk = MODELS[name]
    model, critic = make(), hybrid(trunk=trunk)
    once, twice = (gradients(model, critic, x, keep) for keep in (True, False))
    for a, b in zip(once, twice, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_a_pass_without_gradient_is_not_taken(x):
    model = VAE(Checkpointed(True), nn.Linear(4, 16), latent=4)
    critic = hybrid()
    one = draw(model, x, keep=critic.keeps)
    assert not one.kept["encoder.trunk"].requires_grad
    slope = torch.autograd.grad(critic.term(one, model).sum(), model.encoder.trunk.weight)[0]
    assert slope.abs().max() > 0


def test_the_trunk_is_passed_once_a_step(model, x):
    critic = hybrid()
    objective = Objective([critic])
    assert passes(model.encoder.trunk, lambda: objective.of(model, x)) == 1
    assert passes(model.encoder.trunk, lambda: objective(draw(model, x), model)) == 2
    assert passes(model.encoder.trunk, lambda: Objective([hybrid(trunk=features_of)]).of(model, x)) == 2
    assert passes(model.encoder.trunk, lambda: Objective([hybrid(side="model")]).of(model, x)) == 2
    assert passes(model.encoder.head, lambda: objective.of(model, x)) == 1


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("given", [{}, {"side": "model", "gradient": "straight_through"}], ids=["inference", "model"])
def test_batch_statistics_remember_the_data_once(x, keep, given):
    model = sequential(nn.BatchNorm1d(32), nn.ReLU())
    critic = hybrid(trunk="encoder.2", **given)
    one = draw(model, x, keep=critic.keeps if keep else ())
    before = model.encoder[1].running_mean.clone()
    critic.term(one, model)
    assert torch.equal(model.encoder[1].running_mean, before)
    assert model.encoder[1].num_batches_tracked == 1
    assert model.encoder[1].track_running_stats


def test_what_was_kept_under_autocast_serves_outside(model, x):
    critic = hybrid()
    with torch.autocast("cpu", torch.bfloat16):
        one = draw(model, x, keep=critic.keeps)
    assert one.kept["encoder.trunk"].dtype == torch.bfloat16
    assert critic.term(one, model).dtype == torch.float32


def test_the_trunk_is_shared_and_registered_once(model, x):
    critic = hybrid()
    both = [*model.parameters(), *critic.parameters()]
    assert len({id(p) for p in both}) == len(both)
    assert not any("trunk" in name for name in critic.state_dict())
    one = draw(model, x)
    alone = type(one)(one.x, one.q, one.z.detach(), one.px, one.prior)
    critic.term(alone, model).sum().backward()  # only the x side is left, and it runs through the trunk
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.encoder.trunk.parameters())
    assert all(p.grad is None for p in model.encoder.head.parameters())


def test_the_trunk_may_be_a_function(model, x):
    one = draw(model, x)
    assert torch.equal(hybrid(trunk=features_of).term(one, model), hybrid().term(one, model))
    assert hybrid(trunk=features_of).keeps == ()
    assert "features_of" in repr(hybrid(trunk=features_of))
    assert " at 0x" not in repr(hybrid(trunk=features_of))


def test_it_says_what_is_wrong_with_the_trunk(model, x):
    with pytest.raises(BadInput, match=r"no module 'encoder\.body'"):
        hybrid(trunk="encoder.body").term(draw(model, x), model)
    with pytest.raises(BadInput, match="trained and saved twice"):
        hybrid(trunk=model.encoder.trunk)
    for keep in ((), ("encoder.trunk",)):
        with pytest.raises(ShapeError, match="features=31"):
            hybrid(31).term(draw(model, x, keep=keep), model)


def test_detached_pairs_train_the_trunk_and_not_the_decoder(model, x):
    hybrid(side="model", gradient="detached").term(draw(model, x), model).sum().backward()
    assert all(p.grad.abs().max() > 0 for p in model.encoder.trunk.parameters())
    assert all(p.grad is None for p in model.decoder.parameters())
