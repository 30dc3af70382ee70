"""Model and objective become one graph, in the eager backend: what is tested is that nothing breaks it."""

import pytest
import torch
from torch.distributions import Distribution

from uncollapse import Objective, draw
from uncollapse.nets import build_vae
from uncollapse.remedies import FreeBits, SelfCritic

pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own

PAIRS = [
    ("mlp", "mlp"),
    ("conv-small", "conv-small"),
    ("resnet", "pixelcnn-small"),
    ("mlp", {"name": "pixelcnn", "kernels": (5, 3, 3), "channels": 8, "bottleneck": 4, "skip": 2}),
]


@pytest.fixture(autouse=True)
def validation_stays():
    """The first compilation of a process switches off the validation of torch's distributions."""
    before = Distribution._validate_args
    yield
    Distribution.set_default_validate_args(before)


def terms(model, objective):
    return lambda x: objective(draw(model, x), model)


def both(model, objective, x, **options):
    """Terms and gradients without and with compilation. The first pass also looks up torch's closed form of the KL."""
    torch.compiler.reset()
    found = []
    for call in (terms(model, objective), torch.compile(terms(model, objective), backend="eager", **options)):
        torch.manual_seed(1)
        model.zero_grad()
        out = call(x)
        sum(term.mean() for term in out.values()).backward()
        found.append([out, {name: p.grad.clone() for name, p in model.named_parameters()}])
    return found


@pytest.mark.parametrize(("encoder", "decoder"), PAIRS)
def test_one_graph(encoder, decoder):
    torch.manual_seed(0)
    model = build_vae(encoder, decoder, (1, 8, 8), latent=4)
    plain, compiled = both(model, Objective(), torch.rand(6, 1, 8, 8).round(), fullgraph=True)
    torch.testing.assert_close(compiled, plain)


@pytest.mark.parametrize("mixed", [False, True])
def test_one_graph_with_remedies_and_mixed_precision(mixed):
    torch.manual_seed(0)
    model = build_vae("mlp", "mlp", (16,), latent=4)
    objective = Objective([FreeBits(0.1), SelfCritic(0.5)])
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        plain, compiled = both(model, objective, torch.rand(6, 16).round(), fullgraph=True)
    torch.testing.assert_close(compiled, plain)


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning", "ignore:Dynamo does not know:UserWarning")
def test_text_keeps_its_values_in_several_graphs():
    """Lengths are read from the data and torch does not trace its LSTM, so there is no single graph to be had."""
    torch.manual_seed(0)
    options = {"embedding": 8, "hidden": 8}
    decoder = {"name": "lstm", "dropout_in": 0.0, "dropout_out": 0.0, **options}
    model = build_vae({"name": "lstm", **options}, decoder, (6,), 4, {"tokens": 10})
    x = torch.tensor([[5, 9, 2, 0, 0, 0], [4, 4, 6, 2, 0, 0]])
    plain, compiled = both(model, Objective(), x)
    torch.testing.assert_close(compiled, plain)
