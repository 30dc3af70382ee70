"""What the three critics share."""

import math

import pytest
import torch

from uncollapse import draw
from uncollapse.errors import BadInput
from uncollapse.remedies import HybridCritic, NeuralCritic, SelfCritic
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


CRITICS = [SelfCritic, neural, hybrid]
KINDS = ["multisample", "binary"]


def draw_of(one, k):
    return type(one)(one.x, one.q, one.z[k : k + 1], one.px, one.prior)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", CRITICS)
def test_samples_are_averaged(one, model, make, kind):
    critic = make(kind=kind)
    each = torch.stack([critic.term(draw_of(one, k), model) for k in range(3)])
    torch.testing.assert_close(critic.term(one, model), each.mean(0))
    each = torch.stack([critic.log_ratio(draw_of(one, k), model) for k in range(3)])
    torch.testing.assert_close(critic.log_ratio(one, model), each.mean(0))


@pytest.mark.parametrize("make", CRITICS)
def test_means_do_not_depend_on_the_noise(one, model, make):
    critic = make(compare="mean")
    assert torch.equal(critic.term(one, model), critic.term(draw_of(one, 0), model))


@pytest.mark.parametrize("side", ["inference", "model"])
@pytest.mark.parametrize("make", CRITICS)
def test_batch_of_one_is_refused(model, make, side):
    with pytest.raises(BadInput, match="at least two"):
        make(side=side).term(draw(model, Prototypes().sample(1)[0]), model)


@pytest.mark.parametrize("make", CRITICS)
def test_ceiling_is_log_b(make):
    assert make().ceiling(50) == pytest.approx(math.log(50), abs=1e-4)
    assert make().ceiling(50) <= math.log(50)


@pytest.mark.parametrize("make", CRITICS)
def test_what_is_no_bound_of_the_codes_information_has_no_ceiling(make):
    assert make(kind="binary").ceiling(50) is None
    assert make(side="model").ceiling(50) is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", ["inference", "model"])
@pytest.mark.parametrize("make", CRITICS)
def test_term_is_float32_under_autocast(model, make, side, kind):
    x = Prototypes().sample(6)[0]
    with torch.autocast("cpu", torch.bfloat16):
        term = make(side=side, kind=kind).term(draw(model, x), model)
    assert term.dtype == torch.float32
    term.sum().backward()
    reached = [p.grad for p in model.parameters() if p.grad is not None]
    assert reached
    assert all(grad.isfinite().all() for grad in reached)


@pytest.mark.parametrize("make", CRITICS)
def test_a_binary_critic_charges_the_same_in_every_direction(one, model, make):
    terms = [make(kind="binary", direction=direction).term(one, model) for direction in ("x", "z", "both")]
    assert not torch.allclose(terms[0], terms[1])
    torch.testing.assert_close((terms[0] + terms[1]) / 2, terms[2])
    assert terms[0].mean().item() == pytest.approx(terms[1].mean().item(), rel=1e-5)


@pytest.mark.parametrize("make", CRITICS)
def test_log_ratio_of_a_multisample_critic_is_log_b_minus_its_loss(one, model, make):
    critic = make(direction="x")
    torch.testing.assert_close(critic.log_ratio(one, model), math.log(6) - critic.term(one, model))


@pytest.mark.parametrize("make", CRITICS)
@pytest.mark.parametrize(
    "bad",
    [
        {"direction": "y"}, {"compare": "mode"}, {"temperature": 0.0}, {"temperature": "hot"}, {"weight": -1.0},
        {"side": "decoder"}, {"kind": "triple"}, {"side": "model", "gradient": "score"},
        {"side": "model", "compare": "mean"}, {"gradient": "detached"}, {"gradient": "straight_through"},
    ],
    ids=str,
)  # fmt: skip
def test_bad_choices_are_refused(make, bad):
    with pytest.raises(BadInput):
        make(**bad)


@pytest.mark.parametrize("make", CRITICS)
def test_choices_are_printed(make):
    assert "gradient" not in repr(make())
    text = repr(make(kind="binary", side="model", gradient="straight_through"))
    assert "kind='binary'" in text
    assert "side='model'" in text
    assert "gradient='straight_through'" in text
