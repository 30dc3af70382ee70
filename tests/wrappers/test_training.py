"""Wrapped models in the training loop and in a study: interrupted and resumed to the same bits, measured, judged."""

import os
import signal

import pytest
import torch

from uncollapse import Objective, fit
from uncollapse.remedies import Anneal, FreeBits
from uncollapse.study import Measure, ModelSpec, Run, work
from uncollapse.testing import Prototypes, ToyModel
from uncollapse.wrappers import FlowPrior, SemiAmortised, VampPrior, VonMisesFisher

MODELS = {
    "sphere": lambda m: VonMisesFisher(m, 10.0),
    "vamp": lambda m: VampPrior(m, (16,), 10),
    "flow": lambda m: FlowPrior(m, kind="maf", hidden=(8,)),
    "semi": lambda m: SemiAmortised(m, 2),
    "semi, own": lambda m: SemiAmortised(m, 2, gradient="own"),
    "vamp round a sphere": lambda m: VampPrior(VonMisesFisher(m, 10.0), (16,), 10),
    "semi round a flow": lambda m: SemiAmortised(FlowPrior(m, kind="maf", hidden=(8,)), 2),
}


@pytest.mark.parametrize("name", MODELS)
def test_interrupted_and_resumed_gives_the_same_bits(name, tmp_path):
    data = Prototypes().sample(96, seed=1)[0]

    def attempt(seed, **options):
        torch.manual_seed(seed)
        model = MODELS[name](ToyModel())
        objective = Objective([FreeBits(0.5), Anneal(over=8)])
        return fit(model, (data, data[:32]), objective, batches=12, batch_size=16, validate_every=5, **options)

    def stop(step, total, record):
        if step == 7:
            os.kill(os.getpid(), signal.SIGINT)

    whole = attempt(0)
    with pytest.raises(KeyboardInterrupt):
        attempt(0, folder=tmp_path, progress=stop)
    again = attempt(9, folder=tmp_path)
    assert whole.history == again.history
    ours, theirs = whole.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize(
    "wrap",
    [
        [{"VonMisesFisher": {"kappa": 20}}],
        ["FlowPrior"],
        [{"VampPrior": {"pseudo_inputs": 20}}, {"SemiAmortised": {"steps": 2}}],
        [{"VonMisesFisher": {"kappa": 20}}, {"VampPrior": {"pseudo_inputs": 20}}],
    ],
    ids=lambda wrap: " in ".join(one if isinstance(one, str) else next(iter(one)) for one in wrap),
)
def test_a_study_can_measure_it(wrap, tmp_path):
    small = {"name": "mlp", "hidden": [12]}
    run = Run(
        model=ModelSpec(small, small, 3, wrap=wrap), fit={"batches": 12, "batch_size": 64, "validate_every": 6},
        measure=Measure(nll_samples=3, samples=40, images=2),
    )  # fmt: skip
    result = work.execute(run, tmp_path / "run")
    for name in ("nll", "kl", "kl_information", "kl_mismatch", "mi_lower", "mi_upper", "shuffle_gap", "density"):
        assert result["metrics"][name]["value"] is not None
    assert result["verdict"]["word"]
    assert result["metrics"]["kl_mismatch"]["flags"][0] == "of the whole code"
