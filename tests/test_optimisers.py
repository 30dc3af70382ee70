import pytest
import torch
from torch import nn

from uncollapse.optimisers import Stepper, optimiser
from uncollapse.plan import Settings


def weights():
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((5, 3), (5,), (2, 5))]


def give_gradients(parameters, step, without=()):
    generator = torch.Generator().manual_seed(step)
    for place, parameter in enumerate(parameters):
        gradient = torch.randn(parameter.shape, generator=generator)
        parameter.grad = None if place in without else gradient


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd", "plain-sgd"])
def test_steps_are_the_optimisers_own_to_the_bit(kind):
    plan = Settings(batches=1, optimiser=kind, lr=0.01, weight_decay=0.1)
    ours, theirs = weights(), weights()
    step, plain = Stepper(optimiser(ours, plan)), optimiser(theirs, plan)
    for number in range(6):
        without = (1,) if number in (0, 3) else ()  # a frozen part, at first and later on
        give_gradients(ours, number, without)
        give_gradients(theirs, number, without)
        if number == 4:  # the learning rate is halved
            step.group["lr"] = plain.param_groups[0]["lr"] = 0.005
        step()
        plain.step()
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    a, b = step.optimiser.state_dict()["state"], plain.state_dict()["state"]
    assert all(torch.equal(a[i][key], b[i][key]) for i in b for key in b[i] if b[i][key] is not None)


def test_lists_are_used_once_every_parameter_has_a_state():
    plan = Settings(batches=1)
    parameters = weights()
    step = Stepper(optimiser(parameters, plan))
    give_gradients(parameters, 0)
    step()
    assert step.tables is None  # there was no state yet
    give_gradients(parameters, 1)
    step()
    assert step.tables is not None
    assert step.tables[0][0] is step.optimiser.state[parameters[0]]["exp_avg"]
