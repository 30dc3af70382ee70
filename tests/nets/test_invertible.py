"""A decoder that can be run backwards."""

import pytest
import torch

from uncollapse import VAE
from uncollapse.distributions import FixedGaussian
from uncollapse.errors import BadInput, ShapeError
from uncollapse.metrics import lipschitz
from uncollapse.nets import FlowDecoder, MLPDecoder, MLPEncoder, build_vae
from uncollapse.testing import check_model


def wild(shape, latent, size=1.0, **options):
    """A flow far from the identity, in double precision."""
    torch.manual_seed(0)
    net = FlowDecoder(shape, latent, **options).double()
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(size * torch.randn_like(weight) / max(weight.shape[-1], 1) ** 0.5)
    return net


@pytest.mark.parametrize(("shape", "latent"), [((2,), 2), ((5,), 2), ((1, 3, 3), 4), ((7,), 1), ((6,), 6)])
@pytest.mark.parametrize("activation", ["tanh", "relu", "silu"])
def test_inverse_recovers_z(shape, latent, activation):
    net = wild(shape, latent, activation=activation)
    z = 2 * torch.randn(50, latent, dtype=torch.float64)
    mean = net(z)
    assert mean.shape == (50, *shape)
    torch.testing.assert_close(net.inverse(mean), z)


@pytest.mark.parametrize(("size", "reach"), [(0.0, 1.0), (0.1, 0.5), (0.5, 1.0), (1.0, 2.0)])
def test_singular_values_stay_above_the_proven_bound(size, reach):
    net = wild((6,), 3, size=size, reach=reach)
    model = VAE(MLPEncoder((6,), 3, hidden=(4,)).double(), net, 3, read_x=FixedGaussian(1.0))
    z = torch.randn(200, 3, dtype=torch.float64)
    z = z * (3.0 / z.norm(dim=1, keepdim=True)).clamp(max=1)
    bound = net.expansion(radius=3.0)
    assert 0 < bound <= float(lipschitz(model, z).smallest)
    gaps = torch.cdist(net(z), net(z)) / torch.cdist(z, z)
    assert bound <= gaps[~torch.eye(200, dtype=bool)].min()


def test_the_bound_is_not_empty_at_the_start():
    assert FlowDecoder((6,), 2, couplings=2, reach=0.5).expansion(radius=2.0) > 1e-3


def test_couplings_in_turn_let_every_number_see_every_latent():
    net = wild((4,), 4, couplings=3)
    jacobian = torch.autograd.functional.jacobian(lambda z: net(z[None])[0], torch.randn(4).double())
    assert (jacobian.abs() > 1e-6).all()
    first = net.couplings[0]
    h = torch.randn(3, 4).double()
    assert torch.equal(first(h)[:, 0::2], h[:, 0::2])
    assert (first(h)[:, 1::2] != h[:, 1::2]).all()
    assert torch.equal(net.couplings[1](h)[:, 1::2], h[:, 1::2])


def test_a_plain_network_may_lose_what_a_flow_cannot():
    torch.manual_seed(0)
    plain = MLPDecoder((6,), 2, hidden=(4,), activation="relu").double()
    with torch.no_grad():
        plain.body[0].weight[:, 1] = 0  # the second latent is lost
    flow = wild((6,), 2)
    for net, lost in ((plain, True), (flow, False)):
        model = VAE(MLPEncoder((6,), 2, hidden=(4,)).double(), net, 2, read_x=FixedGaussian(1.0))
        assert (float(lipschitz(model, torch.randn(50, 2).double()).smallest) < 1e-9) is lost


@pytest.mark.parametrize("shape", [(16,), (1, 4, 4)])
def test_models_keep_the_contract(shape):
    torch.manual_seed(0)
    model = build_vae("mlp", {"name": "flow", "hidden": [8]}, shape, 3, "gaussian")
    check_model(model, torch.rand(6, *shape))


def test_mistakes():
    with pytest.raises(ShapeError, match="at least 4"):
        FlowDecoder((3,), 4)
    with pytest.raises(ShapeError, match="at least 2"):
        FlowDecoder((1,), 1)
    with pytest.raises(BadInput, match="couplings"):
        FlowDecoder((4,), 2, couplings=1)
    for reach in (0, -1.0, float("nan"), "far"):
        with pytest.raises(BadInput, match="reach"):
            FlowDecoder((4,), 2, reach=reach)
