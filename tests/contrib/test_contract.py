"""The promise of contrib: the contract is kept, the source cited."""

import pytest
import torch

from uncollapse import contrib
from uncollapse.remedies import Remedy
from uncollapse.testing import Prototypes, ToyModel, check_model, check_remedy

#: Arguments without default.
EXAMPLES = {}


@pytest.mark.parametrize("name", contrib.__all__)
def test_contract(name, device, dtype):
    torch.manual_seed(0)
    kind, x = getattr(contrib, name), Prototypes().sample(12)[0].to(device, dtype)
    if issubclass(kind, Remedy):
        check_remedy(lambda: kind(**EXAMPLES.get(name, {})), ToyModel(), x)
    else:
        check_model(lambda: kind(ToyModel(), **EXAMPLES.get(name, {})), x)


@pytest.mark.parametrize("name", contrib.__all__)
def test_sources(name):
    sources = getattr(contrib, name).sources
    assert sources
    assert all("https://" in source and source[:2].isalpha() for source in sources)
