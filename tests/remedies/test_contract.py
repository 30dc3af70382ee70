"""Every remedy keeps the contract; a new one is tested as soon as it is exported."""

import inspect

import pytest
import torch

from uncollapse import remedies
from uncollapse.remedies import Remedy
from uncollapse.testing import Prototypes, ToyModel, check_remedy

#: Arguments of remedies that have no default, beside the ones named shape, latent and features.
EXAMPLES = {
    "Aggressive": {"window": 2, "most": 5},
    "Anneal": {"over": 10},
    "Cyclical": {"over": 40},
    "GECO": {"distortion": 5.0},
    "MomentumContrast": {"encoder": ToyModel().encoder, "augment": "bits"},
    "Rescue": {"pretrain": 4, "anneal": 6},
}
MORE = [
    ("GECO", {"per": "pixel", "start": 2.0}),
    ("ControlVAE", {"integral": 0.1}),
    ("TargetRate", {"speed": 0.5}),
    ("SelfCritic", {"direction": "both", "compare": "mean", "temperature": 2.0}),
    ("NeuralCritic", {"learn_temperature": True, "direction": "x"}),
    ("NeuralCritic", {"temperature": "raw", "compare": "mean"}),
    ("HybridCritic", {"learn_temperature": True, "direction": "z"}),
    ("SelfCritic", {"kind": "binary"}),
    ("SelfCritic", {"memory": 20}),
    ("SelfCritic", {"candidates": 100}),
    ("SelfCritic", {"side": "model", "gradient": "detached"}),
    ("SelfCritic", {"side": "model", "kind": "binary", "gradient": "straight_through"}),
    ("NeuralCritic", {"kind": "binary", "learn_temperature": True}),
    ("NeuralCritic", {"side": "model", "gradient": "straight_through"}),
    ("HybridCritic", {"kind": "binary", "direction": "z"}),
    ("HybridCritic", {"side": "model", "gradient": "detached"}),
    ("Aggressive", {"rule": "text", "window": 2, "most": 5, "gradients": "encoder"}),
    ("Rescue", {"mode": "per_example", "floor": 1.0}),
    ("FreeBits", {"mode": "batch_mean"}),
    ("FreeBits", {"mode": "per_example"}),
    ("Capacity", {"mode": "per_example", "over": 10}),
    ("MomentumContrast", {"query": "view", "reconstruct": "view", "queue": 24, "compare": "mean"}),
    ("MomentumContrast", {"query": "view", "symmetric": True, "queue": 30, "momentum": 0.5}),
    ("MomentumContrast", {"key": "end_to_end", "symmetric": True, "batch_norm": "running"}),
    ("MomentumContrast", {"key": "frozen"}),
    ("MomentumContrast", {"key": "none", "queue": 8}),
    ("LatentReconstruction", {"source": "posterior", "share": 1.0}),
    ("LatentReconstruction", {"source": "posterior", "share": 1.0, "detach": False, "encoder_scale": 1e-4}),
    ("LatentReconstruction", {"flow": "encoder", "warmup": 5}),
    ("LatentReconstruction", {"flow": "decoder", "share": 1.0}),
    ("MMD", {"alpha": 0.5, "kernel": "imq", "scales": (0.1, 1.0, 10.0), "statistic": "v"}),
    ("MMD", {"bandwidth": "median", "samples": 40}),
    ("MINE", {"bound": "nwj", "compare": "mean"}),
    ("MINE", {"pairs": "all", "decay": 0.5}),
    ("MAE", {"gamma": 0.0, "floor": 2.0}),
    ("MAE", {"eta": 0.0, "gamma": 1.0}),
]
NAMES = [name for name in remedies.__all__ if inspect.isclass(getattr(remedies, name))]
REMEDIES = [name for name in NAMES if issubclass(getattr(remedies, name), Remedy) and name != "Remedy"]


def example(name, **given):
    kind = getattr(remedies, name)
    known = {"shape": (16,), "latent": 4, "features": 32}
    filled = {key: value for key, value in known.items() if key in inspect.signature(kind).parameters}
    return kind(**{**filled, **EXAMPLES.get(name, {}), **given})


@pytest.mark.parametrize(("name", "given"), [*((name, {}) for name in REMEDIES), *MORE])
def test_contract(name, given, device, dtype):
    torch.manual_seed(0)
    x = Prototypes().sample(12)[0].to(device, dtype)
    check_remedy(lambda: example(name, **given), ToyModel(), x)
    check_remedy(example(name, **given), ToyModel(latent=4, scale=0.5), x)


@pytest.mark.parametrize("name", REMEDIES)
def test_every_remedy_cites_its_source(name):
    kind = getattr(remedies, name)
    assert kind.sources
    assert all("https://" in source and source[:2].isalpha() for source in kind.sources)
