"""Every wrapper gives a sound model; a new one is tested as soon as it is exported."""

import inspect

import pytest
import torch

from uncollapse import wrappers
from uncollapse.nets import build_vae
from uncollapse.testing import Prototypes, ToyModel, check_model
from uncollapse.wrappers import Wrapper

#: Arguments of wrappers that have no default, beside the model.
EXAMPLES = {
    "AutoregressivePrior": {"length": 2},
    "FlowPrior": {"kind": "maf", "hidden": (8,)},
    "SemiAmortised": {"steps": 2},
    "VampPrior": {"pseudo_inputs": 5},
}
#: Further cases.
MORE = [
    ("BatchNormMean", {"tau": 0.5}),
    ("BatchNormMean", {"renormalise": True}),
    ("MinimumRate", {"sign": "positive", "delta": 1.0}),
    ("AutoregressivePrior", {"length": 4, "alpha": [-0.5]}),
    ("FlowPrior", {"kind": "nsf", "transforms": 1}),
    ("SemiAmortised", {"gradient": "finite", "eps": 1e-3}),
    ("SemiAmortised", {"gradient": "own", "samples": 3}),
    ("SemiAmortised", {"gradient": "kl", "clip": None}),
    ("VampPrior", {"squash": "sigmoid"}),
    ("VampPrior", {"squash": "none", "pseudo_inputs": 1}),
    ("VonMisesFisher", {"kappa": 2}),
]


def pixels():
    """A model whose decoder sees the pixels before, and images for it."""
    return build_vae("conv-small", "pixelcnn-small", (1, 8, 8), latent=4), Prototypes().sample(48)[0].reshape(
        12, 1, 8, 8
    )


#: What wrappers that do not fit the toy model are put round: a function that gives a model and a batch.
MODELS = {"WordDropout": pixels}
NAMES = [name for name in wrappers.__all__ if inspect.isclass(getattr(wrappers, name))]
WRAPPERS = [name for name in NAMES if issubclass(getattr(wrappers, name), Wrapper)]


def bench(name):
    return MODELS[name]() if name in MODELS else (ToyModel(), Prototypes().sample(12)[0])


def example(name, model, **given):
    kind = getattr(wrappers, name)
    known = {"shape": (16,), "latent": 4}
    filled = {key: value for key, value in known.items() if key in inspect.signature(kind).parameters}
    return kind(model, **{**filled, **EXAMPLES.get(name, {}), **given})


@pytest.mark.parametrize(("name", "given"), [*((name, {}) for name in WRAPPERS), *MORE])
def test_contract(name, given, device, dtype):
    torch.manual_seed(0)
    model, x = bench(name)
    check_model(example(name, model, **given), x.to(device, dtype))


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrappers_nest(name):
    torch.manual_seed(0)
    model, x = bench(name)
    check_model(Wrapper(example(name, Wrapper(model))), x)


@pytest.mark.parametrize("name", [name for name in WRAPPERS if name != "Wrapper"])
def test_every_wrapper_cites_its_source(name):
    kind = getattr(wrappers, name)
    assert kind.sources
    assert all("https://" in source and source[:2].isalpha() for source in kind.sources)
