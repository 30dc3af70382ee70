"""Rescue: the weight of the KL by phase, the reset of the decoder, resuming across it, information that comes back."""

import copy

import pytest
import torch
from torch import nn

from uncollapse import VAE, Codes, Objective, fit, metrics
from uncollapse.errors import BadInput, Unsupported
from uncollapse.nets import MLPDecoder, MLPEncoder, PixelCNN
from uncollapse.remedies import Beta, FreeBits, Rescue
from uncollapse.remedies.rescue import check_decoder, reset_decoder
from uncollapse.testing import Prototypes, ToyModel, check_remedy
from uncollapse.testing.bench import Training

DATA = Prototypes().sample(96, seed=1)[0]


def test_the_weight_follows_the_phases():
    rescue, kl = Rescue(pretrain=2, anneal=4, floor=0.0), torch.rand(3, 2)
    weights = []
    for _ in range(8):
        weights.append(rescue.rate(kl).sum().item() / kl.sum().item())
        rescue.after_step(ToyModel())
    assert weights == pytest.approx([0, 0, 0, 0.25, 0.5, 0.75, 1, 1])
    assert rescue.arrives == 6


@pytest.mark.parametrize("mode", ["per_dimension", "per_example", "batch_mean"])
def test_the_floor_is_that_of_free_bits_below_the_weight(mode):
    rescue, kl = Rescue(2, 4, floor=0.7, mode=mode), torch.rand(5, 3)
    rescue.step = 4
    torch.testing.assert_close(rescue.rate(kl), 0.5 * FreeBits(0.7, mode).rate(kl))


def test_its_gradient_is_that_of_the_released_code():
    """There, the KL of a latent counts where it exceeds the target over D, and is dropped (not clamped) elsewhere."""
    rescue, kl = Rescue(2, 4, floor=8 / 32), torch.rand(5, 32, requires_grad=True)
    rescue.step = 99
    ours = torch.autograd.grad(rescue.rate(kl).sum(), kl)[0]
    theirs = torch.autograd.grad(((kl > 8 / 32).float() * kl).sum(), kl)[0]
    assert torch.equal(ours, theirs)


def test_the_decoder_starts_afresh_at_the_end_of_the_first_phase_and_never_again():
    torch.manual_seed(0)
    model, rescue = ToyModel(), Rescue(2, 3)
    training = Training(model, rescue, DATA[:12])
    changes = []
    for step in range(5):
        before = copy.deepcopy(model.state_dict())
        training.run(step, step + 1)
        jump = {
            part: max(
                (value - before[name]).abs().max().item()
                for name, value in model.state_dict().items()
                if name.startswith(part)
            )
            for part in ("encoder", "decoder")
        }
        changes.append((jump["encoder"] > 0.05, jump["decoder"] > 0.05))  # a step of Adam moves by 0.01
    assert changes == [(False, False), (False, True), (False, False), (False, False), (False, False)]


@pytest.mark.parametrize("steps", [2, 3, 4])
def test_it_resumes_before_at_and_after_the_reset(steps):
    check_remedy(lambda: Rescue(3, 4), ToyModel(), DATA[:12], steps=steps)


@pytest.mark.parametrize(
    "decoder",
    [
        lambda: PixelCNN.small((1, 4, 4), 4),
        lambda: PixelCNN.he2019((1, 4, 4), 4, channels=8, bottleneck=4),
        lambda: MLPDecoder((16,), 4, hidden=(8,)),
        lambda: nn.Sequential(nn.Linear(4, 16), nn.LayerNorm(16), nn.PReLU(), nn.GRUCell(16, 16)),
        lambda: nn.ModuleDict({"embed": nn.Embedding(9, 8), "attend": nn.TransformerDecoderLayer(8, 2, 16)}),
    ],
)
def test_fresh_weights_are_those_of_a_new_decoder(decoder):
    """Every weight is replaced, by one of the same spread; constants return to what they start from."""
    torch.manual_seed(0)
    old, new = decoder(), decoder()
    with torch.no_grad():
        for value in old.state_dict().values():
            if value.is_floating_point():
                value.add_(7.0)
    reset_decoder(VAE(nn.Linear(4, 4), old, latent=2))
    for name, value in old.state_dict().items():
        other = new.state_dict()[name]
        if value.is_floating_point():
            assert value.abs().max() < 6.0, name
            assert (value.min() == value.max()) == (other.min() == other.max()), name
            if value.numel() > 60:
                assert value.std().item() == pytest.approx(other.std().item(), rel=0.3), name


def test_masks_survive_the_reset():
    torch.manual_seed(0)
    decoder = PixelCNN.small((1, 8, 8), 4)
    reset_decoder(VAE(nn.Linear(4, 8), decoder, latent=4))
    x, z = torch.rand(2, 1, 8, 8).round(), torch.randn(2, 4)
    later = x.clone()
    later[:, :, 5:] = 1 - later[:, :, 5:]
    one, two = (decoder(z).logits(value) for value in (x, later))
    assert torch.equal(one[:, :, :5], two[:, :, :5])


def test_the_seed_of_the_loop_decides_the_fresh_weights():
    decoders = []
    for seed in (3, 3, 4):
        model = ToyModel()
        torch.manual_seed(seed)
        reset_decoder(model)
        decoders.append(model.decoder.head.weight)
    assert torch.equal(decoders[0], decoders[1])
    assert not torch.equal(decoders[0], decoders[2])


def test_an_outer_module_has_the_last_word():
    class Small(nn.Sequential):
        def reset_parameters(self):
            for parameter in self.parameters():
                nn.init.uniform_(parameter, -0.01, 0.01)

    model = VAE(nn.Linear(16, 8), Small(nn.Linear(4, 16)), latent=4)
    reset_decoder(model)
    assert model.decoder[0].weight.abs().max() <= 0.01


def test_what_the_encoder_shares_stays():
    shared = nn.Linear(8, 8)
    model = VAE(nn.Sequential(nn.Linear(16, 8), shared), nn.Sequential(nn.Linear(4, 8), shared, nn.Linear(8, 16)), 4)
    before = copy.deepcopy(model.state_dict())
    reset_decoder(model)
    same = {name for name, value in model.state_dict().items() if torch.equal(value, before[name])}
    assert same == {f"{part}.1.{kind}" for part in ("encoder", "decoder") for kind in ("weight", "bias")} | {
        f"encoder.0.{kind}" for kind in ("weight", "bias")
    }


class Bare(nn.Module):
    """Owns a weight and has no way to draw a fresh one."""

    def __init__(self, **methods):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 16))
        for name, method in methods.items():
            setattr(self, name, method)

    def forward(self, z):
        return z @ self.weight


@pytest.mark.parametrize(
    ("decoder", "words"),
    [
        (lambda: nn.Sequential(nn.Linear(4, 4), Bare()), r"decoder\.1 \(Bare\) owns weight"),
        (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 16)), "parametrizations"),
        (lambda: Bare(reset_parameters=lambda: None), "leaves weight as it was"),
    ],
)
def test_a_decoder_that_cannot_start_afresh_is_named(decoder, words):
    with pytest.raises(Unsupported, match=words):
        reset_decoder(VAE(nn.Linear(16, 8), decoder(), latent=4))


def test_it_is_named_before_any_training_and_kept_on_request():
    model = VAE(nn.Linear(16, 8), nn.Sequential(nn.Linear(4, 4), Bare()), latent=4)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(Unsupported, match="take reset=False"):
        fit(model, DATA, Objective([Rescue(50, 50)]), batches=100, batch_size=16)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    fit(model, DATA, Objective([Rescue(1, 1, reset=False)]), batches=3, batch_size=16)
    with pytest.raises(Unsupported, match="no decoder"):
        check_decoder(nn.Linear(4, 4))


def test_wrong_numbers_are_refused():
    for wrong in ({"pretrain": 0}, {"anneal": 0}, {"anneal": 2.5}, {"floor": -1.0}, {"mode": "none"}, {"reset": 1}):
        with pytest.raises(BadInput):
            Rescue(**{"pretrain": 2, "anneal": 2, **wrong})


def trained(remedies, model, x, batches, lr=5e-3):
    """Lower bound of the information after training in place."""
    fit(model, (x, x), Objective(remedies), batches=batches, lr=lr, keep="last", validate_every=batches)
    return float(metrics.mutual_information(Codes.of(model, x)).lower)


def test_a_decoder_that_did_without_the_latent_learns_to_read_it():
    torch.manual_seed(0)
    x = Prototypes().sample(1000, seed=1)[0].reshape(-1, 1, 4, 4)
    decoder = PixelCNN((1, 4, 4), 4, channels=16, kernels=(3, 3), bottleneck=8, activation="relu", latent_maps=2)
    model = VAE(MLPEncoder((1, 4, 4), 4, hidden=(32,), activation="tanh"), decoder, 4)
    trained([Beta(4.0)], model, x, 150)
    twin = copy.deepcopy(model)
    assert trained([], twin, x, 200) < 0.5
    assert trained([Rescue(60, 100)], model, x, 200) > 1.4


def test_where_the_collapsed_model_is_the_better_one_only_a_floor_keeps_information():
    torch.manual_seed(0)
    x, model = Prototypes().sample(1000, seed=1)[0], ToyModel(scale=2.0)
    assert trained([], model, x, 200) < 0.05
    twin = copy.deepcopy(model)
    assert trained([Rescue(100, 60, floor=0.0)], twin, x, 250) < 0.1
    assert trained([Rescue(100, 60, floor=0.5)], model, x, 250) > 0.8
