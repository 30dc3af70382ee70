"""A flow as the prior: a density that integrates to one, finds the codes, and leaves torch as it was."""

import copy
import pickle
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
from torch.distributions import Distribution

from uncollapse import Codes, draw
from uncollapse.errors import BadInput, Unsupported
from uncollapse.metrics import kl, mutual_information, nll
from uncollapse.testing import Prototypes, ToyModel
from uncollapse.wrappers import FlowPrior, VampPrior, VonMisesFisher, flow

# Not pytest.importorskip: importing zuko by itself would switch off the validation that is tested here.
pytestmark = pytest.mark.skipif(find_spec("zuko") is None, reason="needs zuko")


@pytest.mark.parametrize("kind", ["nsf", "maf"])
@pytest.mark.parametrize("latent", [1, 2])
def test_density_integrates_to_one(kind, latent):
    torch.manual_seed(0)
    p = FlowPrior(ToyModel(latent=latent), kind=kind, transforms=2, hidden=(8,)).prior()
    assert (p.batch_shape, p.event_shape) == ((), (latent,))
    points, edge = (4001, 10.0) if latent == 1 else (401, 8.0)
    axis = torch.linspace(-edge, edge, points)
    cells = torch.cartesian_prod(*[axis] * latent).reshape(-1, latent)
    with torch.no_grad():
        total = p.log_prob(cells).exp().sum() * (axis[1] - axis[0]) ** latent
    assert total == pytest.approx(1, abs=0.01)


def test_affine_flow_of_one_map_is_a_gaussian():
    torch.manual_seed(0)
    p = FlowPrior(ToyModel(latent=1), kind="maf", transforms=1, hidden=(8,)).prior()
    z = torch.linspace(-3, 3, 7)[:, None]
    with torch.no_grad():
        logs = p.log_prob(z)
        curvature = logs[2:] - 2 * logs[1:-1] + logs[:-2]
        assert torch.allclose(curvature, curvature[:1].expand(5), atol=1e-4)  # a parabola
        assert p.sample((20000,)).std() == pytest.approx(float((-curvature[0]) ** -0.5), rel=0.05)


def test_samples_follow_the_density():
    torch.manual_seed(0)
    p = FlowPrior(ToyModel(latent=2), transforms=2, hidden=(8,)).prior()
    with torch.no_grad():
        z = p.sample((5, 4000))
        assert z.shape == (5, 4000, 2)
        axis = torch.linspace(-8, 8, 401)
        cells = torch.cartesian_prod(axis, axis)
        weight = p.log_prob(cells).exp()
        mean = (weight[:, None] * cells).sum(0) / weight.sum()
    assert torch.allclose(z.mean((0, 1)), mean, atol=0.05)


def clusters():
    """A fixed encoder whose codes lie far from N(0, I)."""
    torch.manual_seed(0)
    model = ToyModel(latent=2)
    with torch.no_grad():
        model.encoder.head.weight[:2] *= 6
        model.encoder.head.weight[2:] = 0
        model.encoder.head.bias[2:] = -2.0
    return model.requires_grad_(False)


@pytest.mark.parametrize("kind", ["nsf", "maf"])
def test_the_prior_finds_the_codes_and_tells_them_nothing(kind):
    model, x = clusters(), Prototypes().sample(400, seed=1)[0]
    prior = FlowPrior(model, kind=kind, transforms=2, hidden=(16,))
    before = kl(Codes.of(model, x))
    optimiser = torch.optim.Adam(prior.flow.parameters(), 0.01)
    for _ in range(200):
        optimiser.zero_grad()
        draw(prior, x[torch.randint(400, (64,))]).kl.mean().backward()
        optimiser.step()
    after = kl(Codes.of(prior, x))
    assert after < before - 0.5
    assert after.joint_information == pytest.approx(before.joint_information, abs=1e-9)
    assert after.mismatch < before.joint_mismatch - 0.5
    assert nll(prior, x[:50], samples=10) < nll(model, x[:50], samples=10)


def test_it_is_no_remedy_where_collapse_is_the_optimum():
    torch.manual_seed(0)
    model, x = FlowPrior(ToyModel(scale=2.0), kind="maf", hidden=(16,)), Prototypes().sample(1000, seed=1)[0]
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(150):
        optimiser.zero_grad()
        (-draw(model, x[torch.randint(len(x), (64,))]).elbo.mean()).backward()
        optimiser.step()
    assert mutual_information(Codes.of(model, x)).upper < 0.1


def test_parameters_are_the_priors():
    model = FlowPrior(ToyModel(), hidden=(8,))
    own = {id(p) for p in model.flow.parameters()}
    assert {id(p) for part in model.parts()["prior"] for p in part.parameters()} == own
    assert not {id(p) for part in model.parts()["encoder"] for p in part.parameters()} & own


def test_autocast_does_not_reach_the_density():
    torch.manual_seed(0)
    p, z = FlowPrior(ToyModel(), hidden=(8,)).prior(), torch.randn(5, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(p.log_prob(z), p.log_prob(z.clone()))
        found = p.log_prob(z)
    assert found.dtype == torch.float32
    assert torch.equal(found, p.log_prob(z))


CHILD = """
import pickle, sys
import torch
from torch.distributions import Distribution, Normal
from uncollapse.testing import ToyModel
from uncollapse.wrappers import FlowPrior
assert "zuko" not in sys.modules
if len(sys.argv) > 1:
    torch.distributions.Distribution.set_default_validate_args(sys.argv[1] == "True")
    FlowPrior(ToyModel(), hidden=(8,))
    assert Distribution._validate_args is (sys.argv[1] == "True")
else:
    pickle.loads(sys.stdin.buffer.read())
    assert Distribution._validate_args is True
    try:
        Normal(0.0, -1.0)
        raise SystemExit("a negative scale passed")
    except ValueError:
        pass
assert "zuko" in sys.modules
"""


@pytest.mark.parametrize("how", ["False", "pickle"])
def test_importing_zuko_changes_nothing_for_other_distributions(how):
    """In a process of its own, where zuko is not imported yet."""
    given = pickle.dumps(FlowPrior(ToyModel(), hidden=(8,))) if how == "pickle" else b""
    arguments = [] if how == "pickle" else [how]
    done = subprocess.run([sys.executable, "-c", CHILD, *arguments], input=given, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]


def test_copies():
    torch.manual_seed(0)
    model, z = FlowPrior(ToyModel(), hidden=(8,)), torch.randn(5, 4)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin.prior().log_prob(z), model.prior().log_prob(z))
        assert twin.flow is not model.flow
    assert Distribution._validate_args


def test_without_zuko_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(flow, "find_spec", lambda name: None)
    with pytest.raises(Unsupported, match=r"uncollapse\[flows\]"):
        FlowPrior(ToyModel())


def test_refusals():
    with pytest.raises(BadInput, match="sphere"):
        FlowPrior(VampPrior(VonMisesFisher(ToyModel(), 5.0), (16,), 4))
    with pytest.raises(BadInput, match="VampPrior has one already"):
        FlowPrior(VampPrior(ToyModel(), (16,), 4))
    with pytest.raises(BadInput, match="4 latents"):
        FlowPrior(ToyModel(), latent=3)
    for given in ({"kind": "glow"}, {"transforms": 0}, {"hidden": (8, 0)}, {"hidden": (True,)}):
        with pytest.raises(BadInput):
            FlowPrior(ToyModel(), **given)
