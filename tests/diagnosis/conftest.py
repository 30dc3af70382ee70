import pytest
import torch

from uncollapse.adapters import Adapted
from uncollapse.codes import Codes
from uncollapse.diagnosis.gathering import gather
from uncollapse.diagnosis.reading import read
from uncollapse.diagnosis.subject import QUICK, Subject


@pytest.fixture
def subject_of():
    """Makes a subject from a model and inputs, or from codes alone."""

    def make(model, x=None, labels=None, keep=512, **given):
        if isinstance(model, Codes):
            from uncollapse.diagnosis.entering import from_codes

            subject, _ = from_codes(None, model, labels, QUICK, 0, given)
            return subject
        one = read(Adapted(model), x, labels, keep, 256, 0)
        return Subject(
            Adapted(model), model, one.codes, one.x, one.rows, dropped=len(one.dropped), distinct=one.distinct,
            names=one.names, **given,
        )  # fmt: skip

    return make


@pytest.fixture
def asked(subject_of):
    """Runs one test of a cause on a model and inputs."""

    def ask(test, model, x=None, labels=None, **given):
        subject = subject_of(model, x, labels, **given)
        evidence, _ = gather(subject)
        return test(subject, evidence)

    return ask


@pytest.fixture
def digits():
    """Inputs (400, 64) and labels of real digits."""
    from uncollapse.data import load

    x, y = next(iter(load("digits").train.batches(400)))
    return x.flatten(1).contiguous(), y


@pytest.fixture
def state_kept():
    """Checks that a model is as it was: weights, buffers, modes, gradients, random state."""

    def check(model, work):
        model.train()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        modes = [module.training for module in model.modules()]
        flags = [p.requires_grad for p in model.parameters()]
        random = torch.get_rng_state()
        result = work()
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        assert modes == [module.training for module in model.modules()]
        assert flags == [p.requires_grad for p in model.parameters()]
        assert all(p.grad is None for p in model.parameters())
        assert torch.equal(random, torch.get_rng_state())
        return result

    return check
