"""Metrics against the closed form of a linear beta-VAE, reached by training."""

import pytest
import torch
from torch import nn

from uncollapse import VAE, Codes
from uncollapse.distributions import FixedGaussian
from uncollapse.metrics import active_units, kl, mutual_information
from uncollapse.testing.linear import optimum

EIGENVALUES = torch.tensor([4.0, 2.0, 1.0, 0.5, 0.25], dtype=torch.float64)


def data(n=4000):
    """Examples whose covariance is exact, in a rotated basis."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(n, 5, generator=g, dtype=torch.float64)
    x = x - x.mean(0)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(x.T @ x / n), x.T, upper=False).T
    turn = torch.linalg.qr(torch.randn(5, 5, generator=g, dtype=torch.float64)).Q
    return (white * EIGENVALUES.sqrt()) @ turn.T


class Encoder(nn.Module):
    """Linear mean, one log variance per latent."""

    def __init__(self):
        super().__init__()
        self.mean, self.log_variance = nn.Linear(5, 3), nn.Parameter(torch.zeros(3))

    def forward(self, x):
        return self.mean(x), self.log_variance.expand(len(x), -1)


def trained(x, noise, beta):
    """A VAE trained on the analytic objective of the whole set with plain L-BFGS."""
    torch.manual_seed(1)
    model = VAE(Encoder(), nn.Linear(3, 5), latent=3, read_x=FixedGaussian(noise**0.5)).double()
    optimiser = torch.optim.LBFGS(model.parameters(), max_iter=2000, tolerance_grad=1e-10, tolerance_change=1e-14,
                                  history_size=30, line_search_fn="strong_wolfe")  # fmt: skip

    def loss():
        optimiser.zero_grad()
        mean, log_variance = model.encoder(x)
        error = (x - model.decoder(mean)).square().sum(1).mean()
        spread = (model.decoder.weight.square().sum(0) * log_variance[0].exp()).sum()
        rate = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
        total = (error + spread) / (2 * noise) + beta * rate
        total.backward()
        return total

    optimiser.step(loss)
    return model


@pytest.mark.parametrize(("noise", "beta"), [(0.3, 1.0), (0.3, 4.0), (1.5, 1.0), (5.0, 1.0)])
def test_training_reaches_the_closed_form(noise, beta):
    x = data()
    codes = Codes.of(trained(x, noise, beta), x)
    truth = optimum(EIGENVALUES, 3, noise, beta)
    rate, units, bracket = kl(codes), active_units(codes), mutual_information(codes)
    assert units == int(truth.active.sum())
    assert rate.per_dim.sort(descending=True).values == pytest.approx(truth.kl.numpy(), abs=1e-3)
    assert units.spectrum.sort(descending=True).values == pytest.approx(truth.mean_variance.numpy(), abs=1e-3)
    assert codes.scale[0].double().square().sort().values == pytest.approx(truth.variance.numpy(), abs=1e-3)
    exact = float(truth.kl.sum())
    assert bracket.upper == pytest.approx(exact, abs=1e-3)
    assert bracket.lower == pytest.approx(exact, abs=4 * bracket.lower.se + 0.05 * exact + 1e-4)
    assert rate.mismatch == pytest.approx(0, abs=4 * rate.mismatch.se + 0.01)
