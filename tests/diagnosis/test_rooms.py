import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal

from uncollapse.diagnosis.identifiable import non_identifiable
from uncollapse.diagnosis.rooms import rooms
from uncollapse.testing.linear import LinearVAE


class Elsewhere(nn.Module):
    """A linear model whose codes are counted in another unit, from another place."""

    def __init__(self, model, unit, place):
        super().__init__()
        self.inside, self.unit, self.place = model, unit, place

    def posterior(self, x):
        q = self.inside.posterior(x)
        return Independent(Normal(q.mean * self.unit + self.place, q.stddev * self.unit), 1)

    def likelihood(self, z):
        return self.inside.likelihood((z - self.place) / self.unit)

    def prior(self):
        return Independent(Normal(torch.full((2,), self.place), torch.full((2,), self.unit)), 1)


@pytest.mark.parametrize(("unit", "place"), [(100.0, 0.0), (0.01, 0.0), (1.0, 30.0)])
def test_the_room_does_not_depend_on_the_unit_of_z(subject_of, asked, unit, place):
    model = LinearVAE(torch.tensor([[3.0, 0.0], [0.0, 1.0]]), noise=0.5, posterior="diagonal")
    x = model.simulate(200)
    same, other = rooms(subject_of(model, x)), rooms(subject_of(Elsewhere(model, unit, place), x))
    assert torch.allclose(same.epsilon, other.epsilon, rtol=1e-4)
    assert torch.equal(same.kl_mask, other.kl_mask)
    assert asked(non_identifiable, Elsewhere(model, unit, place), x).numbers["flat"] == 0
