"""The contract catches what it promises to catch; that our wrappers pass it is tested in tests/wrappers."""

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal

from uncollapse import VAE
from uncollapse.testing import Prototypes, ToyModel, check_model
from uncollapse.wrappers import Wrapper


def shifted(q, by):
    return Independent(Normal(q.base_dist.loc + by, q.base_dist.scale, validate_args=False), 1, validate_args=False)


class Good(Wrapper):
    """A learned shift of the posterior's mean; something sound to break."""

    def __init__(self, model):
        super().__init__(model)
        self.shift = nn.Parameter(torch.full((model.latent,), 0.1))

    def posterior(self, x):
        return shifted(self.model.posterior(x), self.shift)


class LeavesTheEventOut(Good):
    def posterior(self, x):
        return super().posterior(x).base_dist


class PriorWithBatch(Good):
    def prior(self):
        return super().prior().expand((3,))


class ForgetsLeading(Good):
    def likelihood(self, z):
        return super().likelihood(z.reshape(-1, z.shape[-1]))


class MixesSamples(Good):
    def likelihood(self, z):
        return super().likelihood(z - z.mean(0) if z.ndim == 3 else z)


class Overflows(Good):
    def posterior(self, x):
        q = super().posterior(x).base_dist
        return Independent(Normal(q.loc, q.scale * 1e30, validate_args=False), 1, validate_args=False)


class Detached(Good):
    def posterior(self, x):
        q = super().posterior(x).base_dist
        return Independent(Normal(q.loc.detach(), q.scale.detach(), validate_args=False), 1, validate_args=False)


class Unused(Good):
    def __init__(self, model):
        super().__init__(model)
        self.spare = nn.Linear(3, 3)


class Silenced(Good):
    def posterior(self, x):
        q = super().posterior(x).base_dist
        return Independent(Normal(0 * q.loc, 1 + 0 * q.scale, validate_args=False), 1, validate_args=False)


class MixesExamples(Good):
    def posterior(self, x):
        q = super().posterior(x)
        return shifted(q, -q.mean.mean(0))


class PlaceMatters(Good):
    def likelihood(self, z):
        return super().likelihood(z * torch.linspace(1, 2, z.shape[-2], dtype=z.dtype)[:, None])


class SecretNoise(Good):
    def posterior(self, x):
        return super().posterior(x + 0 * torch.randn_like(x))


class MovesInEvaluation(Good):
    def __init__(self, model):
        super().__init__(model)
        self.register_buffer("average", torch.zeros(()))

    def posterior(self, x):
        self.average.lerp_(x.mean(), 0.1)
        return super().posterior(x)


class CountsInEvaluation(Good):
    calls = 0

    def posterior(self, x):
        self.calls = self.calls + 1
        return super().posterior(x)


class StaysInTraining(Good):
    def posterior(self, x):
        self.model.train()
        return super().posterior(x)


class NeedsGradients(Good):
    """One step of refinement that asks autograd and is silent where there is none."""

    def posterior(self, x):
        q = super().posterior(x)
        if not q.mean.requires_grad:
            return q
        loss = q.mean.square().sum()
        return shifted(q, -0.5 * torch.autograd.grad(loss, q.base_dist.loc, create_graph=True)[0])


class LeavesGradientsOn(Good):
    def posterior(self, x):
        torch.set_grad_enabled(True)
        return super().posterior(x)


class HalfPrecision(Good):
    """The matrix product runs in half precision under autocast, and nobody turns it back."""

    def posterior(self, x):
        q = super().posterior(x).base_dist
        mean, scale = (value @ torch.eye(self.latent, dtype=value.dtype) for value in (q.loc, q.scale))
        return Independent(Normal(mean, scale, validate_args=False), 1, validate_args=False)


class Single(Good):
    def posterior(self, x):
        q = super().posterior(x).base_dist
        return Independent(Normal(q.loc.float(), q.scale.float(), validate_args=False), 1, validate_args=False)


class OwnsTheDecoder(Good):
    """Freezing the encoder would freeze this decoder."""

    def __init__(self, model):
        super().__init__(model)
        self.borrowed = model.decoder


class LeavesOut(Good):
    def parts(self):
        return self.model_parts()

    def model_parts(self):
        return {"encoder": [self.encoder], "decoder": [self.decoder]}


class NamesNoEncoder(Good):
    def parts(self):
        return {"all": [self]}


class UnsavedBuffer(Good):
    """Moves in training and is not in the state dict: the loaded model is silently another one."""

    def __init__(self, model):
        super().__init__(model)
        self.register_buffer("factor", torch.ones(()), persistent=False)

    def posterior(self, x):
        if self.training:
            self.factor *= 0.9
        q = super().posterior(x)
        return shifted(q, self.factor - 1)


class DictState(Good):
    def get_extra_state(self):
        return {"a": 1}

    def set_extra_state(self, state):
        pass


class Unpicklable(Good):
    def __init__(self, model):
        super().__init__(model)
        self.read = lambda x: x


class ForgetfulCopy(Good):
    def __setstate__(self, state):
        super().__setstate__(state)
        self.shift = nn.Parameter(torch.randn(self.latent))


class Addressed(Good):
    def extra_repr(self):
        return f"thing={object()}"


class WrongWidth(Good):
    latent = 7


class OffNormal(Normal):
    """Its samples are not those that its density describes."""

    def rsample(self, sample_shape=()):
        return super().rsample(sample_shape) + 0.5


class SamplesElsewhere(Good):
    def posterior(self, x):
        q = super().posterior(x).base_dist
        return Independent(OffNormal(q.loc, q.scale, validate_args=False), 1, validate_args=False)


BROKEN = {
    LeavesTheEventOut: "posterior should have batch",
    PriorWithBatch: "prior should have batch",
    ForgetsLeading: "likelihood of z .* should have batch",
    MixesSamples: "one by one",
    Overflows: "should be finite",
    Detached: "no gradient reaches shift, model.encoder.trunk",
    Unused: "no gradient reaches spare.weight, spare.bias",
    Silenced: "of the part 'encoder' is exactly 0",
    MixesExamples: "a smaller batch should keep log q",
    PlaceMatters: "permute log p",
    SecretNoise: "draws_noise = True",
    MovesInEvaluation: "'average' moved in a pass in evaluation",
    CountsInEvaluation: "'calls' moved in a pass in evaluation",
    StaysInTraining: "back to training mode",
    NeedsGradients: "differ under torch.no_grad",
    LeavesGradientsOn: "leaves them on",
    HalfPrecision: "under bfloat16 autocast z",
    Single: "float64 where everything is",
    OwnsTheDecoder: "'model.decoder.body.0.weight' in \\['encoder', 'decoder'\\]",
    LeavesOut: "leaves out shift",
    NamesNoEncoder: "name encoder and decoder",
    UnsavedBuffer: "differs after saving and loading",
    DictState: "checkpoints hold tensors only",
    Unpicklable: "should pickle",
    ForgetfulCopy: "pickled copy gives another",
    Addressed: "holds an address",
    WrongWidth: "latent should be D = 4",
    SamplesElsewhere: "do sample, log_prob and the registered divergence",
}


def test_the_sound_ones_pass():
    check_model(ToyModel)
    check_model(ToyModel(scale=0.5))
    check_model(lambda: Good(Good(ToyModel())))
    check_model(Good(ToyModel(latent=2)))


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_broken_models_are_caught(kind):
    with pytest.raises(AssertionError, match=f"^{kind.__name__}: .*{BROKEN[kind]}"):
        check_model(lambda: kind(ToyModel()))


class Noisy(Good):
    draws_noise = True

    def posterior(self, x):
        return shifted(super().posterior(x), 0.01 * torch.randn(len(x), self.latent, dtype=x.dtype))


class Averages(Good):
    """Batch statistics in training, running ones in evaluation."""

    def __init__(self, model):
        super().__init__(model)
        self.norm = nn.BatchNorm1d(model.latent)

    def posterior(self, x):
        q = super().posterior(x)
        return shifted(q, self.norm(q.mean) - q.mean)


@pytest.mark.parametrize("kind", [Noisy, Averages])
def test_declared_noise_and_batch_norm_pass(kind):
    check_model(kind(ToyModel()))


class Tied(nn.Module):
    """A decoder that uses the encoder's weights."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder, self.bias = encoder, nn.Parameter(torch.zeros(16))

    def forward(self, z):
        return z @ self.encoder.weight[:4] + self.bias


def test_tied_weights_may_belong_to_both_sides():
    encoder = nn.Linear(16, 8)
    check_model(Wrapper(VAE(encoder, Tied(encoder), 4)))


def test_a_users_own_model():
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 6))
    decoder = nn.Sequential(nn.Linear(3, 64), nn.Dropout(0.2), nn.Unflatten(1, (1, 8, 8)))
    check_model(VAE(encoder, decoder, latent=3), torch.rand(6, 1, 8, 8))


def test_the_caller_keeps_model_batch_and_random_state():
    torch.manual_seed(5)
    model, x = Averages(ToyModel()), Prototypes().sample(12)[0]
    before = [value.clone() for value in model.state_dict().values()]
    state, images = torch.get_rng_state(), x.clone()
    check_model(model, x)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, images)
    assert model.training
    assert all(torch.equal(a, b) for a, b in zip(before, model.state_dict().values(), strict=True))


class Breaks(Good):
    def posterior(self, x):
        return super().posterior(x[:, :3])


def test_what_breaks_says_where():
    with pytest.raises(AssertionError, match=r"^Breaks: it broke while it was checked that: .*encoder does not take"):
        check_model(Breaks(ToyModel()))


def test_it_must_be_a_model():
    with pytest.raises(AssertionError, match="expects a module with posterior"):
        check_model(nn.Linear(2, 2))
