"""The contract catches what it promises to catch; that ours pass it is tested in tests/remedies/test_contract.py."""

import pytest
import torch
from torch import nn

from uncollapse.remedies import Beta, Remedy, SelfCritic
from uncollapse.testing import Prototypes, ToyModel, check_remedy


class Good(Remedy):
    """The code's distance from the batch's mean code; something sound to break."""

    def term(self, draw, model):
        return (draw.z - draw.z.mean(1, keepdim=True)).square().sum(2).mean(0)


class Averages(Good):
    def term(self, draw, model):
        return super().term(draw, model).mean()


class Detached(Good):
    def term(self, draw, model):
        return super().term(draw, model).detach()


class Infinite(Good):
    def term(self, draw, model):
        return super().term(draw, model) / 0.0


class Halved(Good):
    def term(self, draw, model):
        return super().term(draw, model).bfloat16()


class LowPrecision(Good):
    def term(self, draw, model):
        return (draw.z[0] @ draw.z[0].T).sum(1)


class Single(Good):
    def term(self, draw, model):
        return super().term(draw, model).float()


class AddsOwnWeight(Good):
    def forward(self, draw, model):
        return self.current_weight * self.term(draw, model) + 0.1 * draw.kl.sum(1)


class PlaceMatters(Good):
    def term(self, draw, model):
        return super().term(draw, model) * torch.arange(1, len(draw.x) + 1)


class PlaceMattersInRate(Good):
    def rate(self, kl):
        return kl * torch.arange(1, len(kl) + 1)[:, None]


class SecretNoise(Good):
    def term(self, draw, model):
        return super().term(draw, model) + 0 * torch.randn(len(draw.x))


class CountsInForward(Good):
    calls = 0

    def term(self, draw, model):
        self.calls = self.calls + 1
        return super().term(draw, model)


class MovesBufferInForward(Good):
    def __init__(self):
        super().__init__()
        self.register_buffer("average", torch.zeros(()))

    def term(self, draw, model):
        term = super().term(draw, model)
        self.average.lerp_(term.detach().mean(), 0.1)
        return term


class MovesTheModel(Good):
    def term(self, draw, model):
        with torch.no_grad():
            model.decoder.head.bias.add_(0.1)
        return super().term(draw, model)


class HandsOverInEvaluation(Good):
    _handed = None

    def term(self, draw, model):
        self._handed = draw.z.detach()
        return super().term(draw, model)


class ForgetsToCount(Good):
    def after_step(self, model):
        pass


class ListForQueue(Good):
    """State outside the state dict: the run resumes, and is silently another run."""

    def __init__(self):
        super().__init__()
        self.seen = [1.0]

    def term(self, draw, model):
        return super().term(draw, model) * self.seen[-1]

    def after_step(self, model):
        super().after_step(model)
        self.seen.append(0.9 * self.seen[-1])


class UnsavedCounter(Good):
    """The same for a number that does not show in the loss yet."""

    def __init__(self):
        super().__init__()
        self.filled = 0

    def after_step(self, model):
        super().after_step(model)
        self.filled += 1


class UnsavedBuffer(Good):
    def __init__(self):
        super().__init__()
        self.register_buffer("factor", torch.ones(()), persistent=False)

    def term(self, draw, model):
        return super().term(draw, model) * self.factor

    def after_step(self, model):
        super().after_step(model)
        self.factor.mul_(0.9)


class DictState(Good):
    def get_extra_state(self):
        return {"step": self.step}

    def set_extra_state(self, state):
        self.step = state["step"]


class TotalRate(Good):
    def rate(self, kl):
        return kl.sum(1)


class CutRate(Good):
    def rate(self, kl):
        return kl.detach()


class Unpicklable(Good):
    def __init__(self):
        super().__init__()
        self.shape = lambda x: x


class Addressed(Good):
    def extra_repr(self):
        return f"thing={object()}"


class Uncopyable(Good):
    def __deepcopy__(self, memo):
        raise RuntimeError("no copies")


class ForgetfulCopy(Good):
    def __init__(self):
        super().__init__()
        self.scorer = nn.Linear(4, 1)

    def __setstate__(self, state):
        super().__setstate__(state)
        self.scorer = nn.Linear(4, 1)

    def term(self, draw, model):
        return super().term(draw, model) + self.scorer(draw.z[0]).squeeze(1)


class OneCitation(Good):
    sources = "Somebody, 2020"


class Crashes(Good):
    def term(self, draw, model):
        return super().term(draw, model) + 0 * draw.z[0, 1, 0]  # the second example, if there is one


class WrongCeiling(Good):
    def ceiling(self, batch):
        return float("inf")


class FreezesNonsense(Good):
    def before_step(self, inner):
        return frozenset({"encodr"})


BROKEN = {
    Averages: "should be \\(B,\\)",
    Detached: "should reach the encoder",
    Infinite: "should be finite",
    Halved: "should keep the type",
    LowPrecision: "under bfloat16 autocast",
    Single: "in float64 the term should be float64",
    AddsOwnWeight: "at weight 0",
    PlaceMatters: "permute the term",
    PlaceMattersInRate: "permute the rate",
    SecretNoise: "draws_noise = True",
    CountsInForward: "'calls' moved in a forward pass in evaluation",
    MovesBufferInForward: "'average' moved in a forward pass in evaluation",
    MovesTheModel: "'decoder.head.bias' moved",
    HandsOverInEvaluation: "'_handed' moved in a forward pass in evaluation",
    ForgetsToCount: "call super\\(\\)",
    ListForQueue: "differs after saving and loading",
    UnsavedCounter: "'remedies.0.filled' differs after saving and loading",
    UnsavedBuffer: "differs after saving and loading",
    DictState: "checkpoints hold tensors only",
    TotalRate: "rate should keep the shape",
    CutRate: "rate should have a finite gradient",
    Unpicklable: "should pickle",
    Addressed: "holds an address",
    Uncopyable: "should deep-copy",
    ForgetfulCopy: "pickled copy has another state",
    OneCitation: "tuple of citations",
    Crashes: "batch of one",
    WrongCeiling: "ceiling should be a finite number",
    FreezesNonsense: "before_step should name parts",
}


def test_the_sound_one_passes():
    check_remedy(Good())
    check_remedy(Good)


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_broken_remedies_are_caught(kind):
    with pytest.raises(AssertionError, match=f"^{kind.__name__}: .*{BROKEN[kind]}"):
        check_remedy(kind())


def test_a_class_inside_a_function_is_caught():
    model = ToyModel()

    class Registers(Good):
        def __init__(self):
            super().__init__()
            self.trunk = model.encoder.trunk

    with pytest.raises(AssertionError, match="should pickle"):
        check_remedy(Registers, model)


class Registers(Good):
    trunk: nn.Module


def test_a_shared_parameter_is_caught():
    model = ToyModel()

    def make():
        remedy = Registers()
        remedy.trunk = model.encoder.trunk
        return remedy

    with pytest.raises(AssertionError, match="belongs to the model as well"):
        check_remedy(make, model)


class Teaches(Good):
    """Only the decoder learns, and it says so."""

    reaches_encoder = False

    def term(self, draw, model):
        return -model.likelihood(draw.z.detach()).log_prob(draw.x).mean(0)


class Noisy(Good):
    draws_noise = True

    def term(self, draw, model):
        return super().term(draw, model) * torch.rand(len(draw.x))


@pytest.mark.parametrize("kind", [Teaches, Noisy])
def test_declared_exceptions_pass(kind):
    check_remedy(kind())


class Normalised(Good):
    """Running statistics of a normalisation layer may move in training."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def term(self, draw, model):
        return self.norm(draw.z[0]).square().sum(1) if len(draw.x) > 1 else Good.term(self, draw, model)


def test_batch_norm_in_a_critic_passes():
    check_remedy(Normalised())


def test_the_caller_keeps_model_batch_and_random_state():
    torch.manual_seed(5)
    model, x = ToyModel(), Prototypes().sample(12)[0]
    before = [value.clone() for value in model.state_dict().values()]
    remedy, state, images = SelfCritic(3.0), torch.get_rng_state(), x.clone()
    check_remedy(remedy, model, x)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, images)
    assert remedy.step == 0
    assert all(torch.equal(a, b) for a, b in zip(before, model.state_dict().values(), strict=True))


def test_a_factory_must_make_a_remedy():
    with pytest.raises(AssertionError, match="expects a Remedy"):
        check_remedy(lambda: nn.Linear(2, 2))


def test_on_a_users_own_model_and_shape():
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 6))
    decoder = nn.Sequential(nn.Linear(3, 64), nn.Unflatten(1, (1, 8, 8)))
    from uncollapse import VAE

    check_remedy(SelfCritic(20.0), VAE(encoder, decoder, latent=3), torch.rand(6, 1, 8, 8))
    check_remedy(Beta(2.0), VAE(encoder, decoder, latent=3), torch.rand(6, 1, 8, 8))
