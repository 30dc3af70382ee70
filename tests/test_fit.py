"""The training loop: budgets, resuming to the same bits, plateaus, and clear ends to bad beginnings."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from torch import nn

import uncollapse
from uncollapse import VAE, Objective, fit
from uncollapse.errors import BadInput, NonFinite, RunConflict, ShapeError
from uncollapse.remedies import Remedy

PROTOTYPES = torch.rand(6, 12, generator=torch.Generator().manual_seed(0)).round()
DATA = PROTOTYPES.repeat(16, 1)


def small_model(seed=0):
    torch.manual_seed(seed)
    return VAE(nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 6)), nn.Linear(3, 12), latent=3)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


class Counter(Remedy):
    """Adds nothing, remembers the steps at which it was asked."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def term(self, draw, model):
        if self.training:
            self.seen.append(self.step)
        return torch.zeros_like(draw.log_px[0])


class Twice(Remedy):
    """Takes two encoder steps ahead of every main step, in which the encoder then rests."""

    def before_step(self, inner):
        for _ in range(2):
            inner.step(inner.loss(inner.batch()), "encoder")
        return frozenset({"encoder"})


def test_a_budget_counts_batches_and_not_inner_steps():
    counter = Counter()
    out = fit(small_model(), DATA, Objective([Twice(), counter]), batches=7, batch_size=16)
    assert out.steps == 7
    assert sorted(set(counter.seen)) == list(range(7))


def test_epochs_and_batches_are_the_same_budget():
    a = fit(small_model(), (DATA, DATA), epochs=2, batch_size=16)
    b = fit(small_model(), (DATA, DATA), batches=12, batch_size=16)
    assert a.steps == b.steps == 12
    assert same(a.model, b.model)


def test_training_lowers_the_score():
    out = fit(small_model(), (DATA, DATA), batches=200, batch_size=32, lr=1e-2, validate_every=20)
    scores = [record["valid"]["score"] for record in out.history]
    assert scores[-1] < scores[0] - 0.5


def test_a_hand_written_loop_gives_the_same_weights():
    ours = fit(small_model(), (DATA, DATA), batches=5, batch_size=16, keep="last").model
    model, order = small_model(), uncollapse.plan.Order(96, 16, seed=0)
    adam = torch.optim.Adam(model.parameters(), 1e-3)
    for step in range(5):
        torch.manual_seed(uncollapse.plan.derive(0, "noise", step))
        one = uncollapse.draw(model, DATA[order.indices(step)])
        adam.zero_grad()
        (-one.log_px.mean() + one.kl.sum(1).mean()).backward()
        adam.step()
    for a, b in zip(ours.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_the_global_random_stream_is_left_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    fit(small_model(0), DATA, batches=3, batch_size=16)
    torch.manual_seed(5)
    assert torch.equal(before, torch.get_rng_state())
    model = small_model()
    state = torch.get_rng_state()
    fit(model, DATA, batches=3, batch_size=16)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "sgd", "plain-sgd"])
def test_interrupted_in_process_and_resumed_gives_the_same_bits(tmp_path, optimiser):
    options = {"batches": 30, "batch_size": 16, "optimiser": optimiser, "lr": 1e-2, "validate_every": 7}
    whole = fit(small_model(), (DATA, DATA), **options)

    def stop(step, total, record):
        if step == 17:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="17 of 30"):
        fit(small_model(), (DATA, DATA), folder=tmp_path / "run", progress=stop, **options)
    again = fit(small_model(seed=9), (DATA, DATA), folder=tmp_path / "run", **options)
    assert same(whole.model, again.model)
    assert whole.history == again.history


CHILD = """
import sys, torch
sys.path[:0] = [{tests!r}]
from test_fit import DATA, Twice, small_model
from uncollapse import Objective, fit, remedies
step_limit = int(sys.argv[2])
def die(step, total, record):
    if step == step_limit:
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
fit(small_model(), (DATA, DATA), Objective([Twice()]), folder=sys.argv[1], progress=die, batches=40, batch_size=16,
    validate_every=6, checkpoint_every=5, log_every=3)
"""


def test_killed_and_resumed_gives_the_same_bits_and_log(tmp_path):
    code = textwrap.dedent(CHILD).format(tests=str(Path(__file__).parent))
    for folder, deaths in (("whole", []), ("broken", [13, 27])):
        for limit in [*deaths, -1]:
            done = subprocess.run([sys.executable, "-c", code, str(tmp_path / folder), str(limit)], check=False)
            assert done.returncode == (-signal.SIGKILL if limit > 0 else 0)
    whole, broken = (tmp_path / name / "weights.safetensors" for name in ("whole", "broken"))
    assert whole.read_bytes() == broken.read_bytes()

    def lines(name):
        records = [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        return [{k: v for k, v in record.items() if k != "seconds"} for record in records]

    assert lines("whole") == lines("broken")


def test_a_finished_run_is_loaded_and_not_trained_again(tmp_path):
    first = fit(small_model(), DATA, folder=tmp_path, batches=10, batch_size=16)
    second = fit(small_model(seed=3), DATA, folder=tmp_path, batches=10, batch_size=16)
    assert same(first.model, second.model)
    assert first.seconds == second.seconds


def test_a_folder_of_other_settings_is_refused_and_not_touched(tmp_path):
    fit(small_model(), DATA, folder=tmp_path, batches=10, batch_size=16)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(RunConflict, match=r"lr was 0\.001, now 0\.1"):
        fit(small_model(), DATA, folder=tmp_path, batches=10, batch_size=16, lr=0.1)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_another_likelihood_is_another_run(tmp_path):
    fit(small_model(), DATA, folder=tmp_path, batches=4, batch_size=16)
    other = small_model()
    other.read_x = uncollapse.distributions.FixedGaussian(1.0)
    with pytest.raises(RunConflict, match="other likelihood or prior"):
        fit(other, DATA, folder=tmp_path, batches=4, batch_size=16)


def test_a_fit_prints_in_one_line():
    shown = repr(fit(small_model(), DATA, batches=4, batch_size=16))
    assert shown.startswith("Fit(4 batches in ")
    assert len(shown) < 200


class Explodes(Remedy):
    """Becomes NaN for the first example of a batch at step 4."""

    def term(self, draw, model):
        out = draw.log_px[0] * 0
        return out.index_fill(0, torch.tensor([0]), float("nan")) if self.step == 4 else out


def test_a_non_finite_term_is_named_and_the_last_good_weights_stay(tmp_path):
    model = small_model()
    index = int(uncollapse.plan.Order(96, 16, seed=0).indices(4)[0])
    with pytest.raises(NonFinite, match=rf"term explodes is NaN .* step 4 for training examples {index};"):
        fit(model, (DATA, DATA), Objective([Explodes()]), folder=tmp_path, batches=9, batch_size=16, checkpoint_every=1)
    reference = fit(small_model(), (DATA, DATA), batches=4, batch_size=16, keep="last").model
    assert same(model, reference)
    tensors, state = uncollapse.store.load_tensors(tmp_path / "checkpoint.safetensors")
    assert state["step"] == 4
    assert all(value.isfinite().all() for value in tensors.values())


class Steep(Remedy):
    """Finite itself at step 4, with a gradient that is not."""

    def term(self, draw, model):
        zero = draw.q.mean.sum(1) * 0
        return zero.abs().sqrt() if self.step == 4 else zero


@pytest.mark.parametrize(
    ("kept", "words"),
    [("folder", "last checkpoint, step 3"), ("best", "best validation, step 4"), ("", "give folder=")],
)
def test_weights_that_a_bad_gradient_spoilt_are_replaced(tmp_path, kept, words):
    model = small_model()
    options = {"folder": {"folder": tmp_path, "checkpoint_every": 3}, "best": {"validate_every": 2}, "": {}}[kept]
    with pytest.raises(NonFinite, match=words):
        fit(
            model,
            (DATA, DATA),
            Objective([Steep()]),
            **{"batches": 9, "batch_size": 16, "validate_every": 9, **options},
        )
    good = all(value.isfinite().all() for value in model.state_dict().values())
    assert good == bool(kept)


def test_the_best_weights_are_kept():
    out = fit(small_model(), (DATA[:48], DATA[48:]), batches=300, batch_size=16, lr=5e-2, validate_every=10)
    best = min(out.history, key=lambda record: record["valid"]["score"])
    assert best["step"] == out.best_step < 300
    assert all(torch.equal(value, out.best[name]) for name, value in out.model.state_dict().items())


def test_patience_waits_for_every_schedule_to_arrive():
    late = uncollapse.schedules.Linear(0, 1, over=60)
    options = {"batches": 200, "batch_size": 48, "lr": 1e-12, "validate_every": 2, "stop_after": 3}
    assert fit(small_model(), (DATA, DATA), **options).steps < 20
    out = fit(small_model(), (DATA, DATA), Objective([Remedy(weight=late)]), **options)
    assert 60 < out.steps < 80
    assert "no improvement" in out.stopped


def test_the_learning_rate_is_halved_on_a_plateau_and_training_ends_after_the_last_halving():
    options = {"batches": 100, "batch_size": 48, "lr": 1e-12, "validate_every": 2, "halve_after": 2, "halvings": 3}
    out = fit(small_model(), (DATA, DATA), **options)
    assert out.stopped == "learning rate halved 3 times"
    assert out.steps < 30


def test_frozen_parts_do_not_move():
    class Rest(Remedy):
        def before_step(self, inner):
            return frozenset({"encoder"})

    model = small_model()
    before = [p.clone() for p in model.encoder.parameters()]
    fit(model, DATA, Objective([Rest()]), batches=5, batch_size=16)
    assert all(torch.equal(a, b) for a, b in zip(before, model.encoder.parameters(), strict=True))
    assert not same(model.decoder, small_model().decoder)


def test_bf16_trains_close_to_fp32():
    options = {"batches": 60, "batch_size": 32, "lr": 1e-2, "validate_every": 60}
    full = fit(small_model(), (DATA, DATA), precision="32", **options)
    half = fit(small_model(), (DATA, DATA), precision="bf16", **options)
    assert abs(full.history[-1]["valid"]["score"] - half.history[-1]["valid"]["score"]) < 0.2
    assert next(half.model.parameters()).dtype == torch.float32


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({}, BadInput, "either batches"),
        ({"batches": 3, "epochs": 1}, BadInput, "either batches"),
        ({"batches": 3, "learning_rate": 1}, BadInput, "no training setting 'learning_rate'"),
        ({"batches": 3, "batchsize": 1}, BadInput, "did you mean batch_size"),
        ({"batches": 0}, BadInput, "batches should be a positive whole number"),
        ({"batches": 3, "lr": float("nan")}, BadInput, "lr should be"),
        ({"batches": 3, "batch_size": 97}, BadInput, "larger than the training data"),
        ({"batches": 3, "optimiser": "lion"}, BadInput, "adam, adamw, sgd"),
        ({"batches": 3, "device": "tpu"}, BadInput, "device should be"),
        ({"batches": 2.5}, BadInput, "positive whole number, got 2.5"),
        ({"batches": -4, "lr": -1}, BadInput, "batches should be .*; lr should be"),
        ({"batches": 3, "weight_decay": -1}, BadInput, "weight_decay"),
        ({"batches": 3, "compile": "yes"}, BadInput, "compile should be true or false"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(wrong, error, words):
    with pytest.raises(error, match=words) as raised:
        fit(small_model(), (DATA, DATA), **{"batch_size": 16, **wrong})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (torch.empty(0, 12), (BadInput, ShapeError)),
        (torch.rand(1, 12), (BadInput, ShapeError)),
        (torch.full((20, 12), float("nan")), BadInput),
        (torch.full((20, 12), 255.0), BadInput),
        (torch.rand(20), ShapeError),
        ("nonsense", (BadInput, ShapeError)),
        (None, (BadInput, ShapeError)),
    ],
)
def test_bad_data_are_refused(data, error):
    with pytest.raises(error):
        fit(small_model(), data, batches=2, batch_size=2)


def test_a_decoder_of_the_wrong_shape_is_refused():
    model = VAE(nn.Linear(12, 6), nn.Linear(3, 11), latent=3)
    with pytest.raises(ShapeError, match=r"shape \(11,\), but x has \(12,\)"):
        fit(model, DATA, batches=2, batch_size=8)


def test_a_model_without_trainable_parameters_is_refused():
    with pytest.raises(BadInput, match="no trainable parameter"):
        fit(small_model().requires_grad_(False), DATA, batches=2, batch_size=8)
