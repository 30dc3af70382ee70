"""Seeds side by side give what separate runs give: weights, histories, ends, and folders that resume."""

import os
import shutil
import signal

import pytest
import torch
from torch import nn

from uncollapse import VAE, Objective, fit, fit_seeds, remedies
from uncollapse.data import from_tensors
from uncollapse.distributions import FixedGaussian
from uncollapse.errors import NonFinite
from uncollapse.nets import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
from uncollapse.nets.conv import SMALL

GREY = torch.rand(96, 1, 8, 8, generator=torch.Generator().manual_seed(0))
BITS = GREY.round()
OPTIONS = {"batches": 30, "batch_size": 16, "lr": 1e-2, "validate_every": 7}
SEEDS = (0, 1, 5)


def mlp(seed, hidden=(12,)):
    torch.manual_seed(seed)
    return VAE(MLPEncoder((1, 8, 8), 3, hidden=hidden), MLPDecoder((1, 8, 8), 3, hidden=hidden), 3)


def conv(seed):
    torch.manual_seed(seed)
    return VAE(ConvEncoder((1, 8, 8), 3, **SMALL), ConvDecoder((1, 8, 8), 3, **SMALL), 3, read_x=FixedGaussian(0.5))


def chain(seed):
    torch.manual_seed(seed)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 6, bias=False))
    return VAE(encoder, nn.Sequential(nn.Linear(3, 64), nn.Unflatten(1, (1, 8, 8)), nn.Dropout(0.0)), 3)


def assert_equal(ours, separate, tolerance=1e-4):
    for a, b in zip(ours, separate, strict=True):
        for name, value in b.model.state_dict().items():
            torch.testing.assert_close(a.model.state_dict()[name], value, rtol=tolerance, atol=tolerance)
            torch.testing.assert_close(a.best[name], b.best[name], rtol=tolerance, atol=tolerance)
        assert (a.steps, a.best_step, a.stopped) == (b.steps, b.best_step, b.stopped)
        assert len(a.history) == len(b.history)
        for ours_, theirs in zip(a.history, b.history, strict=True):
            assert (ours_["step"], ours_["epoch"]) == (theirs["step"], theirs["epoch"])
            for part in ("train", "valid"):
                assert ours_[part] == pytest.approx(theirs[part], rel=tolerance, abs=tolerance)


def compare(make, data, objective=None, seeds=SEEDS, **settings):
    options = OPTIONS | settings
    separate = [fit(make(s), data, objective() if objective else None, seed=s, **options) for s in seeds]
    ours = fit_seeds(make, data, seeds, objective, how="stacked", **options)
    assert_equal(ours, separate)
    return ours


@pytest.mark.parametrize("make", [mlp, conv, chain])
def test_every_kind_of_network(make):
    compare(make, (BITS, BITS), lr=1e-3)


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "sgd", "plain-sgd"])
def test_every_optimiser(optimiser):
    compare(mlp, (BITS, BITS), optimiser=optimiser, lr=1e-3, weight_decay=0.1)


def test_dynamic_binarisation_draws_the_same_pixels_and_noise():
    compare(mlp, from_tensors(GREY, binarise="dynamic"))


def test_several_samples_of_z():
    compare(mlp, (BITS, BITS), samples=3)
    compare(mlp, (BITS, BITS), lambda: Objective([remedies.SelfCritic(1.0)]), samples=2)


def test_every_seed_is_clipped_by_its_own_norm():
    def uneven(seed):
        model = mlp(seed)
        with torch.no_grad():
            model.decoder.head.weight.mul_(1 + 10 * seed)
        return model

    compare(uneven, (BITS, BITS), clip=0.5, optimiser="plain-sgd", lr=0.01)
    compare(uneven, (BITS, BITS), lambda: Objective([critic()]), clip=0.5, optimiser="plain-sgd", lr=0.01)


def seeded(kind, *arguments, **options):
    torch.manual_seed(3)
    return kind(*arguments, **options)


def critic():
    return seeded(remedies.NeuralCritic, (1, 8, 8), 3, weight=2.0)


MAKERS = {
    "anneal and free bits": lambda: [remedies.Anneal(over=20), remedies.FreeBits(0.2)],
    "free bits per example": lambda: [remedies.FreeBits(0.2, mode="per_example"), remedies.Beta(0.5)],
    "free bits of the batch": lambda: [remedies.FreeBits(0.05, mode="batch_mean")],
    "capacity": lambda: [remedies.Capacity(2.0, 3.0, over=10)],
    "target rate": lambda: [remedies.TargetRate(2.0)],
    "controller": lambda: [remedies.ControlVAE(2.0)],
    "geco": lambda: [remedies.GECO(40.0)],
    "repulsion": lambda: [remedies.MAE(eta=1.0, gamma=0.1)],
    "self critic with a memory": lambda: [remedies.SelfCritic(1.0, memory=32, latent=3)],
    "neural critic": lambda: [critic()],
    "mine": lambda: [seeded(remedies.MINE, (1, 8, 8), 3, pairs="all")],
}


@pytest.mark.parametrize("name", MAKERS)
def test_every_remedy_that_can_be_joined_sees_its_own_seed(name):
    compare(mlp, (BITS, BITS), lambda: Objective(MAKERS[name]()), batches=20, optimiser="sgd", lr=1e-3)


def test_objectives_that_differ_between_seeds():
    betas = iter([0.1, 0.5, 2.0] * 2)
    compare(mlp, (BITS, BITS), lambda: Objective([remedies.Beta(next(betas))]), batches=20)


def test_seeds_halve_their_rates_and_stop_on_their_own():
    noisy = (BITS[:64], BITS[64:])
    ours = compare(
        mlp, noisy, batches=400, lr=3e-2, validate_every=4, halve_after=2, halvings=3, stop_after=12, keep="last"
    )
    assert len({one.steps for one in ours}) > 1
    assert all("halved" in one.stopped for one in ours)


def test_seeds_that_halve_their_rates_at_once_stay_together():
    ours = compare(
        mlp, (BITS[:64], BITS[64:]), seeds=(0, 1), batches=20, lr=3e-2, validate_every=4, halve_after=2, keep="last"
    )
    assert ours[0].best_step == ours[1].best_step == 4


def test_models_own_their_memory_afterwards():
    for one in fit_seeds(mlp, (BITS, BITS), SEEDS, how="stacked", **OPTIONS):
        for value in one.model.parameters():
            assert value.is_contiguous()
            assert value.untyped_storage().nbytes() == value.numel() * value.element_size()


def test_frozen_parameters_stay():
    def frozen(seed):
        model = mlp(seed)
        model.decoder.head.bias.requires_grad_(False)
        return model

    for s, one in zip(SEEDS, compare(frozen, (BITS, BITS)), strict=True):
        assert torch.equal(one.model.decoder.head.bias, mlp(s).decoder.head.bias)


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_interrupted_seeds_resume_to_the_same_bits_also_one_by_one(tmp_path, optimiser):
    options = OPTIONS | {"optimiser": optimiser, "lr": 1e-3}
    whole = fit_seeds(mlp, (BITS, BITS), SEEDS, how="stacked", **options)

    def stop(step, total, record):
        if step == 3 * 17:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="51 of 90"):
        fit_seeds(mlp, (BITS, BITS), SEEDS, how="stacked", folder=tmp_path, progress=stop, **options)
    shutil.copytree(tmp_path / "seed-1", tmp_path / "alone")
    one = fit(mlp(9), (BITS, BITS), seed=1, folder=tmp_path / "alone", **options)
    assert_equal([one], [whole[1]])
    again = fit_seeds(mlp, (BITS, BITS), SEEDS, how="stacked", folder=tmp_path, **options)
    for a, b in zip(again, whole, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a.model.parameters(), b.model.parameters(), strict=True))
        assert a.history == b.history


def test_runs_at_different_steps_catch_up(tmp_path):
    options = OPTIONS | {"checkpoint_every": 1}

    def stop(step, total, record):
        if step == 11:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(mlp(5), (BITS, BITS), seed=5, folder=tmp_path / "seed-5", progress=stop, **options)
    ours = fit_seeds(mlp, (BITS, BITS), SEEDS, how="stacked", folder=tmp_path, **options)
    assert_equal(ours, [fit(mlp(s), (BITS, BITS), seed=s, **options) for s in SEEDS])


def test_a_non_finite_loss_names_the_seed_and_the_term():
    def bad(seed):
        model = mlp(seed)
        if seed == 1:
            with torch.no_grad():
                model.decoder.head.bias.fill_(3e38)
                model.decoder.head.weight.fill_(3e38)
        return model

    with pytest.raises(NonFinite, match=r"seed 1: the term distortion is NaN .* at step 0 .* the model holds"):
        fit_seeds(bad, (BITS, BITS), SEEDS, how="stacked", **OPTIONS)
