"""`fit_seeds`: ways, folders, refusals, and the way that is chosen."""

import json
import os
import signal
import threading
import time
from functools import partial

import pytest
import torch
from torch import nn

from uncollapse import VAE, Objective, fit, fit_seeds, remedies, wrappers
from uncollapse.data import as_data
from uncollapse.errors import BadInput, NonFinite, RunConflict, UncollapseError
from uncollapse.nets import MLPDecoder, MLPEncoder
from uncollapse.plan import Settings
from uncollapse.seeds import choice

BITS = torch.rand(64, 8, generator=torch.Generator().manual_seed(0)).round()
OPTIONS = {"batches": 12, "batch_size": 16, "validate_every": 5}


def mlp(seed=0, hidden=(6,)):
    torch.manual_seed(seed)
    return VAE(MLPEncoder((8,), 2, hidden=hidden), MLPDecoder((8,), 2, hidden=hidden), 2)


def annealed():
    return Objective([remedies.Anneal(over=5), remedies.SelfCritic(1.0, memory=32, latent=2)])


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def records(log):
    return [{**json.loads(line), "seconds": 0} for line in log.read_text().splitlines()]


def test_processes_and_turns_give_the_bits_of_separate_runs(tmp_path):
    separate = [fit(mlp(s), (BITS, BITS), annealed(), seed=s, **OPTIONS) for s in (0, 3)]
    seen = []
    for how in ("processes", "sequential"):
        runs = fit_seeds(
            mlp, (BITS, BITS), (0, 3), annealed, how=how, folder=tmp_path / how,
            progress=lambda step, total, record: seen.append((step, total)), **OPTIONS,
        )  # fmt: skip
        assert runs.how == how
        for a, b in zip(runs, separate, strict=True):
            assert same(a.model, b.model)
            assert same(a.objective, b.objective)
            assert a.history == b.history
            assert (a.steps, a.best_step, a.stopped, a.precision) == (b.steps, b.best_step, b.stopped, b.precision)
            assert all(torch.equal(a.best[name], value) for name, value in b.best.items())
        assert seen[-1][0] == seen[-1][1]
    names = ("weights.safetensors", "log.jsonl")
    for seed in ("seed-0", "seed-3"):
        first, second = (tmp_path / how / seed for how in ("processes", "sequential"))
        assert (first / names[0]).read_bytes() == (second / names[0]).read_bytes()
        assert records(first / names[1]) == records(second / names[1])


def test_interrupted_processes_leave_checkpoints(tmp_path):
    def interrupt():
        while not (tmp_path / "seed-0" / "checkpoint.safetensors").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    options = OPTIONS | {"batches": 2000, "validate_every": 2000, "checkpoint_every": 100}
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        fit_seeds(mlp, (BITS, BITS), (0,), how="processes", folder=tmp_path, **options)
    thread.join()
    assert 0 < json.loads((tmp_path / "seed-0" / "state.json").read_text())["step"] < 2000
    (again,) = fit_seeds(mlp, (BITS, BITS), (0,), how="sequential", folder=tmp_path, **options)
    assert same(again.model, fit(mlp(0), (BITS, BITS), seed=0, **options).model)


def test_given_models_are_trained_in_place():
    for how, seeds in (("processes", (0,)), ("stacked", (0, 1))):
        models = [mlp(seed) for seed in seeds]
        runs = fit_seeds(models, (BITS, BITS), seeds, how=how, **OPTIONS)
        for seed, (model, run) in enumerate(zip(models, runs, strict=True)):
            assert run.model is model
            reference = fit(mlp(seed), (BITS, BITS), seed=seed, **OPTIONS).model
            for a, b in zip(model.parameters(), reference.parameters(), strict=True):
                torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_a_maker_without_a_seed_of_its_own_is_seeded():
    def careless(seed):
        return VAE(MLPEncoder((8,), 2, hidden=(6,)), MLPDecoder((8,), 2, hidden=(6,)), 2)

    state = torch.get_rng_state()
    runs = fit_seeds(careless, (BITS, BITS), (0, 3), how="sequential", **OPTIONS)
    assert torch.equal(state, torch.get_rng_state())
    assert same(runs[1].model, fit(mlp(3), (BITS, BITS), seed=3, **OPTIONS).model)


def test_an_error_in_a_process_keeps_its_type_and_names_the_seed():
    models = [mlp(0)]
    with torch.no_grad():
        models[0].decoder.head.weight.fill_(float("inf"))
    with pytest.raises(NonFinite, match=r"seed 0: .* is NaN"):
        fit_seeds(models, (BITS, BITS), (0,), how="processes", **OPTIONS)


def test_a_folder_of_other_settings_is_refused(tmp_path):
    fit_seeds(mlp, (BITS, BITS), (0,), how="sequential", folder=tmp_path, **OPTIONS)
    for how in ("sequential", "stacked"):
        with pytest.raises(RunConflict, match=r"lr was 0\.001"):
            fit_seeds(mlp, (BITS, BITS), (0,), how=how, folder=tmp_path, lr=0.1, **OPTIONS)


def test_what_cannot_be_sent_to_a_process_is_refused():
    class Local(nn.Sequential):
        pass

    models = [VAE(Local(nn.Linear(8, 4)), nn.Linear(2, 8), 2)]
    with pytest.raises(BadInput, match="at the top level of a module"):
        fit_seeds(models, (BITS, BITS), (0,), how="processes", **OPTIONS)


def test_a_script_s_own_classes_are_refused():
    Local = type("Local", (nn.Sequential,), {"__module__": "__main__"})
    __import__("__main__").Local = Local
    try:
        with pytest.raises(BadInput, match="cannot see what the running script defines"):
            choice.packed(Local(nn.Linear(8, 4)))
    finally:
        del __import__("__main__").Local


class Odd(MLPEncoder):
    """Built like its parent, and different in what it computes."""

    def forward(self, x):
        return super().forward(x) + 1


def hooked(seed):
    model = mlp(seed)
    model.encoder.trunk.register_forward_hook(lambda module, inputs, output: output * 2)
    return model


def batch_normalised(seed):
    return VAE(nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4)), nn.Linear(2, 8), 2)


class Mine(remedies.Remedy):
    """A remedy that the package does not know."""

    def term(self, draw, model):
        return draw.kl.sum(1)


REFUSED = {
    "no stacked form of Odd": (lambda s: VAE(Odd((8,), 2, hidden=(6,)), nn.Linear(2, 8), 2), None),
    "has hooks": (hooked, None),
    "no stacked form of BatchNorm1d": (batch_normalised, None),
    "Dropout draws noise": (lambda s: VAE(nn.Linear(8, 4), nn.Sequential(nn.Dropout(), nn.Linear(2, 8)), 2), None),
    "differ in a MLPEncoder|differ in a Linear": (lambda s: mlp(s, hidden=(6 + s,)), None),
    "got a BatchNormMean": (lambda s: wrappers.BatchNormMean(mlp(s)), None),
    "a prior of its own": (lambda s: VAE(nn.Linear(8, 4), nn.Linear(2, 8), 2, prior=mlp().prior), None),
    "reader .* is not known": (lambda s: VAE(nn.Linear(8, 4), nn.Linear(2, 8), 2, read_x=mlp().read_x.__call__), None),
    "Mine needs": (mlp, lambda: Objective([Mine()])),
    "LatentReconstruction needs": (mlp, lambda: Objective([remedies.LatentReconstruction(1.0)])),
    "SelfCritic needs": (mlp, lambda: Objective([remedies.SelfCritic(1.0, side="model", gradient="detached")])),
    "MMD needs": (mlp, lambda: Objective([remedies.MMD()])),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_stacked_is_refused_and_auto_goes_another_way(reason):
    make, objective = REFUSED[reason]
    with pytest.raises(BadInput, match=rf"cannot be stacked: .*({reason})"):
        fit_seeds(make, (BITS, BITS), (0, 1), objective, how="stacked", **OPTIONS)
    runs = fit_seeds(make, (BITS, BITS), (0, 1), objective, **OPTIONS)
    assert runs.how == "sequential"
    assert "not stacked: " in runs.why
    assert all(run.steps == 12 for run in runs)


def test_half_precision_is_not_stacked():
    with pytest.raises(BadInput, match="only fp32 steps"):
        fit_seeds(mlp, (BITS, BITS), (0, 1), how="stacked", precision="bf16", **OPTIONS)


def test_auto_goes_by_size(monkeypatch):
    small = fit_seeds(mlp, (BITS, BITS), (0, 1), **OPTIONS)
    assert small.how == "stacked"
    assert "MFLOP" in small.why
    assert fit_seeds(mlp, (BITS, BITS), (0,), **OPTIONS).how == "sequential"
    chosen = partial(choice.choose, [mlp(0), mlp(1)], [Objective(), Objective()], as_data((BITS, BITS)))
    plan = Settings.of(**OPTIONS)
    monkeypatch.setattr(choice, "SMALL", 0.0)
    monkeypatch.setattr(choice.torch, "get_num_threads", lambda: 1)
    assert chosen(plan)[1].endswith("torch may use one thread")
    monkeypatch.setattr(choice.torch, "get_num_threads", lambda: 2)
    assert chosen(plan)[1].endswith("too short for processes")
    assert chosen(Settings.of(epochs=1e9))[0] == "processes"


@pytest.mark.parametrize(
    ("seeds", "options", "message"),
    [
        ((), {}, "seeds should be whole numbers"),
        ((1, 1), {}, "each once"),
        ((0.5,), {}, "whole numbers"),
        ((0,), {"seed": 3}, "not seed="),
        ((0,), {"how": "fast"}, "how should be one of"),
        ((0,), {"objective": Objective()}, "a function that makes one"),
        ((0,), {"batchsize": 3}, "did you mean batch_size"),
    ],
)
def test_bad_arguments_are_told(seeds, options, message):
    with pytest.raises(BadInput, match=message):
        fit_seeds(mlp, (BITS, BITS), seeds, **OPTIONS, **options)


def test_models_must_be_one_a_seed_and_apart():
    with pytest.raises(BadInput, match="got 1 for 2 seeds"):
        fit_seeds([mlp()], (BITS, BITS), (0, 1), **OPTIONS)
    one = mlp()
    with pytest.raises(BadInput, match="share parameters"):
        fit_seeds([one, one], (BITS, BITS), (0, 1), **OPTIONS)


def test_small_steps_take_one_thread_and_give_the_others_back():
    from uncollapse.seeds.call import SHORT, threads_for

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with threads_for(SHORT / 2):
            assert torch.get_num_threads() == 1
        with threads_for(2 * SHORT):
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("make", "data", "words"),
    [
        (lambda seed: None, BITS, "return a torch module"),
        (5, BITS, "function of the seed"),
        (mlp, BITS[:, :-1], "does not take"),
    ],
)
def test_models_and_data_that_do_not_fit_are_refused_in_a_sentence(make, data, words):
    with pytest.raises(UncollapseError, match=words):
        fit_seeds(make, data, batches=2, batch_size=4)


def test_compiled_runs_are_not_stacked():
    with pytest.raises(BadInput, match="compiled"):
        fit_seeds(mlp, BITS, how="stacked", compile=True, batches=2, batch_size=4)
