import numpy as np
import pytest
import torch
from torch import nn

from uncollapse import VAE, Codes
from uncollapse.distributions import FixedGaussian
from uncollapse.errors import BadInput, ShapeError
from uncollapse.metrics import noise_gap, shuffle_gap
from uncollapse.metrics.shuffle import derangement
from uncollapse.testing.linear import LinearVAE


def linear():
    weight = torch.as_tensor(np.random.default_rng(0).normal(size=(6, 3)))
    return LinearVAE(weight, noise=0.5, posterior="diagonal")


def expected_gap(model):
    """E |x - W z'|² - |x - W z|² over 2 s², for z and z' from the posteriors of x and of an independent x'."""
    cross = model.gain @ model.data_covariance()  # Cov(z, x)
    return float((model.weight @ cross).trace() / model.noise)


def test_equals_the_closed_form():
    model = linear()
    found = shuffle_gap(model, model.simulate(4000))
    assert found == pytest.approx(expected_gap(model), abs=4 * found.se)
    assert (found.n, found.unit) == (4000, "nats")


def test_equals_the_loop():
    model = linear()
    x = model.simulate(11)
    seen = []
    inner = model.likelihood
    model.likelihood = lambda z: (seen.append(z), inner(z))[1]
    found = shuffle_gap(model, x)
    pair = [z[0] for z in seen]
    assert len(pair) == 2
    order = derangement(11, 0)
    assert torch.equal(pair[1], pair[0][order])
    gaps = [
        float(inner(pair[0][i : i + 1]).log_prob(x[i]) - inner(pair[0][order[i]][None]).log_prob(x[i]))
        for i in range(11)
    ]
    assert found == pytest.approx(sum(gaps) / 11)


def test_decoder_that_ignores_z():
    torch.manual_seed(0)
    decoder = nn.Linear(3, 6)
    nn.init.zeros_(decoder.weight)
    gap = shuffle_gap(VAE(nn.Linear(6, 6), decoder, latent=3), torch.rand(40, 6))
    assert gap == 0
    assert gap.se == 0


def test_batches_change_nothing():
    model = linear()
    x = model.simulate(101)
    whole = shuffle_gap(model, x)
    assert shuffle_gap(model, x, batch_size=10) == pytest.approx(whole, abs=1e-9)
    assert shuffle_gap(model, [x[:50], x[50:70], x[70:]]) == pytest.approx(whole, abs=1e-9)
    assert shuffle_gap(model, x, seed=1) != whole


def counted(model):
    """The model, and a list of how many examples each of its passes of the encoder takes."""
    seen, inner = [], model.posterior
    model.posterior = lambda x: (seen.append(len(x)), inner(x))[1]
    return model, seen


def test_known_codes_are_not_encoded_again():
    model, seen = counted(linear())
    x = model.simulate(100)
    codes = Codes.of(model, x, seed=3)
    loader = [x[:40], x[40:]]
    wanted = shuffle_gap(model, loader, seed=3)
    assert sum(seen) == 300  # once for the codes, and twice because a loader may shuffle
    seen.clear()
    assert shuffle_gap(model, x, seed=3) == pytest.approx(wanted, abs=1e-9)
    assert sum(seen) == 101  # one more to see of what type z is
    seen.clear()
    assert shuffle_gap(model, x, seed=3, codes=codes) == pytest.approx(wanted, abs=1e-9)
    assert noise_gap(model, x, 0.3, seed=3, codes=codes) == pytest.approx(
        noise_gap(model, loader, 0.3, seed=3), abs=1e-9
    )
    assert shuffle_gap(model, x, codes=codes) != wanted  # another permutation
    with pytest.raises(BadInput, match="codes"):
        shuffle_gap(model, x, codes=Codes.of(model, x[:99]))
    with pytest.raises(BadInput, match="codes"):
        shuffle_gap(model, x[:99], codes=codes)


def test_bernoulli_equals_the_loop():
    torch.manual_seed(0)
    model, x = VAE(nn.Linear(6, 6), nn.Linear(3, 6), latent=3), torch.rand(11, 6)  # shares, not bits
    codes, order = Codes.of(model, x), derangement(11, 0)
    with torch.no_grad():
        right, wrong = (model.likelihood(z.float()).log_prob(x) for z in (codes.sample, codes.sample[order]))
    assert shuffle_gap(model, x) == pytest.approx(float((right - wrong).mean()), abs=1e-5)


def test_a_loader_that_shuffles_is_no_trap():
    model = linear()
    x = model.simulate(2000)
    loader = torch.utils.data.DataLoader(x, batch_size=128, shuffle=True)
    found = shuffle_gap(model, loader)
    assert found == pytest.approx(expected_gap(model), abs=5 * found.se)


@pytest.mark.parametrize("n", [2, 3, 10, 101])
def test_nobody_keeps_the_own_code(n):
    for seed in range(5):
        order = derangement(n, seed)
        assert sorted(order.tolist()) == list(range(n))
        assert (order != torch.arange(n)).all()


def test_bad_data():
    model = linear()
    with pytest.raises(BadInput):
        shuffle_gap(model, model.simulate(1))
    with pytest.raises(BadInput, match="twice"):
        shuffle_gap(model, iter([model.simulate(10)]))
    with pytest.raises(ShapeError):
        shuffle_gap(VAE(nn.Linear(6, 6), nn.Linear(3, 5), latent=3, read_x=FixedGaussian()), torch.rand(8, 6))
