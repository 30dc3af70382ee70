"""A collapsed checkpoint becomes informative; what was before, what is after, and resuming in between."""

import copy
import io
import json

import pytest
import torch
from rich.console import Console
from torch import nn

import uncollapse
from uncollapse import VAE, Objective, fit, rescue
from uncollapse.errors import BadInput, RunConflict, Unsupported
from uncollapse.nets import MLPEncoder, PixelCNN
from uncollapse.remedies import Beta, SelfCritic
from uncollapse.testing import Prototypes, ToyModel

IMAGES = Prototypes().sample(1600, seed=1)[0].reshape(-1, 1, 4, 4)
SMALL = Prototypes().sample(120, seed=1)[0]
SHORT = {"batches": 24, "pretrain": 8, "anneal": 8, "batch_size": 16, "nll_samples": 2, "lr": 1e-2}


@pytest.fixture(scope="module")
def rescued():
    """A model whose decoder had learnt to do without z, and its rescue."""
    torch.manual_seed(0)
    decoder = PixelCNN((1, 4, 4), 4, channels=16, kernels=(3, 3), bottleneck=8, activation="relu", latent_maps=2)
    model = VAE(MLPEncoder((1, 4, 4), 4, hidden=(32,), activation="tanh"), decoder, 4)
    fit(model, IMAGES, Objective([Beta(4.0)]), batches=150, lr=5e-3, validate_every=150)
    return rescue(model, IMAGES, batches=220, pretrain=60, anneal=80, lr=5e-3, nll_samples=10, validate_every=40)


def test_a_collapsed_checkpoint_becomes_informative(rescued):
    before, after = rescued.before, rescued.after
    assert before.verdict.word == "collapsed"
    assert before.metrics["mi_upper"] < 0.05
    assert after.verdict.word in {"healthy", "partial collapse"}
    assert after.metrics["mi_lower"] > 1.3
    assert after.metrics["shuffle_gap"] > 1.0
    assert after.metrics["active_units"] == 4
    assert after.metrics["nll"] < before.metrics["nll"] + 1.0


def test_the_optimiser_starts_afresh_with_the_decoder(rescued):
    assert (rescued.pretraining.steps, rescued.training.steps) == (60, 160)
    assert rescued.settings == {
        "batches": 220, "pretrain": 60, "anneal": 80, "floor": 0.25, "mode": "per_dimension", "reset": True,
    }  # fmt: skip
    assert rescued.pretraining.objective is rescued.training.objective
    assert rescued.training.objective.remedies[0].step == 220


def test_it_prints_as_a_table(rescued):
    lines = str(rescued).splitlines()
    assert lines[0].split() == ["before", "after"]
    assert lines[1].startswith("verdict")
    assert len(lines) == 9
    assert any(line.startswith("information, at least (nats)") and "±" in line for line in lines)
    assert repr(rescued).startswith("Rescued(collapsed (0.")
    console = Console(file=io.StringIO(), width=100)
    console.print(rescued)
    assert "collapsed" in console.file.getvalue()


def test_its_plain_values_are_json(rescued):
    plain = json.loads(json.dumps(rescued.to_dict(), allow_nan=False))
    assert plain["before"]["verdict"]["word"] == "collapsed"
    assert plain["after"]["metrics"]["mi_lower"]["value"] == rescued.after.metrics["mi_lower"]
    assert plain["training"]["steps"] == 160


def test_the_function_is_exported():
    assert callable(uncollapse.rescue)
    assert uncollapse.Rescued.__name__ in uncollapse.__all__


def collapsed():
    torch.manual_seed(0)
    return ToyModel()


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("place", [("pretraining", 5), ("training", 7)])
def test_interrupted_and_resumed_gives_the_same_bits(tmp_path, place):
    half, deadly = place
    remedies = [SelfCritic(2.0)]
    whole = rescue(collapsed(), SMALL, remedies=remedies, **SHORT)
    halves = []

    def stop(step, total, record):
        halves.append(total)
        if step == deadly and (len(set(halves)) == 2) == (half == "training"):
            raise KeyboardInterrupt

    model = collapsed()
    options = {**SHORT, "folder": tmp_path / "run", "checkpoint_every": 3}
    with pytest.raises(KeyboardInterrupt):
        rescue(model, SMALL, remedies=[SelfCritic(2.0)], progress=stop, **options)
    again = rescue(model, SMALL, remedies=[SelfCritic(2.0)], **options)  # the same object, half rescued by now
    assert same(whole.model, again.model)
    assert again.before.to_dict() == whole.before.to_dict()
    assert again.after.to_dict() == whole.after.to_dict()
    assert json.loads((tmp_path / "run" / "rescue.json").read_text()) == again.to_dict()
    third = rescue(collapsed(), SMALL, remedies=[SelfCritic(2.0)], **options)  # finished: only measured
    assert same(third.model, again.model)


def test_a_folder_belongs_to_one_rescue(tmp_path):
    rescue(collapsed(), SMALL, folder=tmp_path, **SHORT)
    with pytest.raises(RunConflict, match="nll_samples=2, now 3"):
        rescue(collapsed(), SMALL, folder=tmp_path, **{**SHORT, "nll_samples": 3})
    with pytest.raises(RunConflict):
        rescue(collapsed(), SMALL, folder=tmp_path, floor=1.0, **SHORT)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"batches": 2}, "at least 3"),
        ({"pretrain": 20}, "would never arrive"),
        ({"pretrain": 0}, "positive whole number"),
        ({"epochs": 3}, "batches"),
        ({"part": "train"}, "test or valid"),
        ({"learning_rate": 0.1}, "no training setting"),
        ({"optimiser": "adamm"}, "adam, adamw, sgd"),
        ({"floor": -1}, "floor"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_measured(wrong, words):
    model = collapsed()
    before = copy.deepcopy(model)
    with pytest.raises(BadInput, match=words):
        rescue(model, SMALL, **{**SHORT, **wrong})
    assert same(model, before)


def test_a_decoder_that_cannot_start_afresh_is_refused_before_anything_is_measured():
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 16))

        def forward(self, z):
            raise AssertionError("measured")

    model = VAE(nn.Linear(16, 8), Bare(), latent=4)
    with pytest.raises(Unsupported, match="owns weight"):
        rescue(model, SMALL, **SHORT)


def test_defaults_are_quarters_and_the_global_random_stream_is_left_alone():
    model, state = collapsed(), torch.get_rng_state()
    out = rescue(model, SMALL, batches=9, batch_size=16, nll_samples=2)
    assert (out.settings["pretrain"], out.settings["anneal"]) == (2, 2)
    assert torch.equal(state, torch.get_rng_state())
