"""Every remedy keeps the contract; a new one is tested as soon as it is exported."""

import inspect

import pytest
import torch

from uncollapse import remedies
from uncollapse.remedies import Remedy
from uncollapse.testing import Prototypes, ToyModel, check_remedy

#: Arguments of remedies that have no default, beside the ones named shape, latent and features.
EXAMPLES = {"Anneal": {"over": 10}, "Cyclical": {"over": 40}}
MORE = [
    ("SelfCritic", {"direction": "both", "compare": "mean", "temperature": 2.0}),
    ("NeuralCritic", {"learn_temperature": True, "direction": "x"}),
    ("NeuralCritic", {"temperature": "raw", "compare": "mean"}),
    ("HybridCritic", {"learn_temperature": True, "direction": "z"}),
    ("FreeBits", {"mode": "batch_mean"}),
    ("FreeBits", {"mode": "per_example"}),
    ("Capacity", {"mode": "per_example", "over": 10}),
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
