import pytest
import torch
from torch import nn

from uncollapse import VAE, fit, remedies
from uncollapse.compiling import Compiled
from uncollapse.objective import Objective

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _eager_backend(monkeypatch):
    """The tracing of `torch.compile` without its code generation, which takes half a minute."""
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module, options: compile_(module, backend="eager"))
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def model():
    torch.manual_seed(0)
    return VAE(nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 8)), nn.Linear(4, 12), latent=4)


def trained(**settings):
    data = (torch.rand(64, 12, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    objective = Objective([remedies.Anneal(over=6), remedies.SelfCritic(memory=32, latent=4)])
    return fit(model(), data, objective, batches=12, batch_size=8, lr=0.01, keep="last", **settings)


def test_a_compiled_run_is_the_same_run():
    plain, compiled = trained(), trained(compile=True)
    assert compiled.remarks == []
    for a, b in zip(plain.model.state_dict().values(), compiled.model.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_schedule_and_a_memory_are_compiled_once():
    from torch._dynamo.utils import counters

    counters.clear()
    trained(compile=True)
    assert counters["frames"]["total"] <= 6  # of 12 steps: the first, and again when a number is seen to move
    assert not counters["graph_break"]


class Untraceable(nn.Module):
    """Compiles with an error, runs without one, and draws random numbers before."""

    def forward(self, x):
        noise = torch.rand(3)
        if torch.compiler.is_compiling():
            torch._dynamo.graph_break()
        return x + noise


def test_where_compilation_fails_the_module_itself_runs_on_the_same_noise(monkeypatch):
    module = Untraceable()
    compiled = Compiled(module, CPU)

    def broken(x):
        torch.rand(100)
        raise torch._dynamo.exc.TorchDynamoException("no compiler here\nlong story")

    compiled.call = broken
    torch.manual_seed(3)
    first = compiled(torch.zeros(3))
    torch.manual_seed(3)
    assert torch.equal(first, module(torch.zeros(3)))
    assert compiled.remark == ("not compiled: TorchDynamoException: no compiler here; trained without compilation")
    assert compiled(torch.zeros(3)).shape == (3,)


def test_an_error_of_the_model_is_the_models():
    class Wrong(nn.Module):
        def forward(self, x):
            raise ValueError("my own mistake")

    with pytest.raises(ValueError, match="my own mistake"):
        Compiled(Wrong(), CPU)(torch.zeros(3))


def test_the_remark_reaches_the_user(monkeypatch):
    def fail(module, options):
        def call(x):
            raise RuntimeError("no C++ compiler")

        return call

    monkeypatch.setattr(torch, "compile", fail)
    found = trained(compile=True)
    assert found.remarks == ["not compiled: RuntimeError: no C++ compiler; trained without compilation"]
    for a, b in zip(trained().model.state_dict().values(), found.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)
