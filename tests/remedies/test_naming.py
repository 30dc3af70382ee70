"""The cross-entropy by blocks against its definition, and what it keeps."""

import math

import pytest
import torch
from torch.distributions import Independent, Normal
from torch.utils._python_dispatch import TorchDispatchMode

from uncollapse.errors import ShapeError
from uncollapse.functional import gaussian_columns
from uncollapse.remedies import naming as blocks
from uncollapse.remedies.naming import naming


def direct(left, right, more=None, among=True):
    """The definition, in float64."""
    scores = (left.double() @ (right if more is None else torch.cat([right, more], 1)).double()).clone()
    own = scores.diagonal().clone()
    if not among:
        strangers = ~torch.eye(len(left), right.shape[1], dtype=torch.bool)
        scores[:, : right.shape[1]].masked_fill_(strangers, -torch.inf)
    return scores.logsumexp(1) - own


def factors(queries=7, candidates=11, width=4, dtype=torch.float64, seed=0):
    """Queries with a last column of 1, and candidates."""
    torch.manual_seed(seed)
    left = torch.cat([torch.randn(queries, width - 1, dtype=dtype), torch.ones(queries, 1, dtype=dtype)], 1)
    return left, torch.randn(width, candidates, dtype=dtype)


def neighbours(scale, queries=40, candidates=90, latent=6):
    """Points, means and scales of posteriors that overlap in pairs, in float32."""
    torch.manual_seed(0)
    half, deviation = torch.randn(candidates // 2, latent), scale * (0.5 + torch.rand(candidates, latent))
    mean = torch.cat([half, half + 0.3 * deviation[: candidates // 2] * torch.randn(candidates // 2, latent)])
    mean, deviation = (part[torch.arange(candidates) * 7 % candidates] for part in (mean, deviation))
    return mean[:queries] + deviation[:queries] * torch.randn(queries, latent), mean, deviation


@pytest.fixture(params=[(2, 3), (3, 100), (100, 4)])
def tiles(request, monkeypatch):
    """Blocks so small that several are needed."""
    monkeypatch.setattr(blocks, "CACHED", request.param)


@pytest.mark.parametrize("among", [True, False])
@pytest.mark.parametrize("further", [0, 5])
def test_values_and_gradients_by_the_definition(tiles, among, further):
    left, right = factors()
    more = torch.randn(4, further, dtype=torch.float64) if further else None
    weights = torch.rand(7, dtype=torch.float64)
    found = []
    for form in (naming, direct):
        inputs = [left.clone().requires_grad_(), right.clone().requires_grad_()]
        given = {"out": torch.float64} if form is naming else {}
        losses = form(*inputs, more, among=among, **given)
        (losses * weights).sum().backward()
        found.append([losses.detach(), inputs[0].grad[:, :-1], inputs[1].grad])
    for ours, exact in zip(*found, strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-9, atol=1e-12)


def test_gradcheck(tiles):
    left, right = factors(3, 5)
    queries, right = left[:, :-1].clone().requires_grad_(), right.requires_grad_()

    def loss(queries, right):
        return naming(torch.cat([queries, left[:, -1:]], 1), right, out=torch.float64)

    assert torch.autograd.gradcheck(loss, [queries, right])


@pytest.mark.parametrize("scale", [1.0, 1e-2, 1e-3, 1e-4])
def test_densities_equal_those_of_the_direct_form(tiles, scale):
    found = []
    for exact in (False, True):
        z, mean, deviation = (part.clone().requires_grad_() for part in neighbours(scale))
        if exact:
            scores = Independent(Normal(mean.double(), deviation.double()), 1).log_prob(z.double()[:, None])
            losses = scores.logsumexp(1) - scores.diagonal()
        else:
            columns = gaussian_columns(mean, deviation)
            losses = naming(columns.left(z), columns.right)
        losses.mean().backward()
        found.append([losses.detach().double(), z.grad, mean.grad, deviation.grad])
    assert found[0][0].max() > 0.5  # the softmax is not decided
    assert (found[0][0] - found[1][0]).abs().max() < 1e-4
    for ours, theirs in zip(found[0][1:], found[1][1:], strict=True):
        assert (ours - theirs).norm() < max(1e-5, 1e-6 / scale) * theirs.norm()


@pytest.mark.parametrize("tile", [(2, 3), (100, 100)])
def test_blocks_do_not_change_the_result(monkeypatch, tile):
    left, right = factors(9, 20, dtype=torch.float32)
    whole = naming(left, right)
    monkeypatch.setattr(blocks, "CACHED", tile)
    torch.testing.assert_close(naming(left, right), whole, rtol=1e-6, atol=1e-6)


def test_a_decided_softmax_has_no_loss_and_no_gradient():
    left = torch.tensor([[1e4, 0.0, 1.0], [0.0, 1e4, 1.0]], requires_grad=True)
    right = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], requires_grad=True)
    losses = naming(left, right)
    losses.sum().backward()
    assert losses.tolist() == [0.0, 0.0]
    assert (left.grad == 0).all()
    assert (right.grad == 0).all()


def test_a_small_rest_keeps_its_digits():
    # a softmax in float32 would say that the own share is 1, and the rest 0
    left, right = torch.tensor([[1.0]]), torch.tensor([[0.0, -30.0]])
    assert naming(left, right).item() == pytest.approx(math.exp(-30), rel=1e-5)


def test_a_stranger_far_above_the_own_candidate():
    left, right = torch.ones(1, 1), torch.tensor([[0.0, 500.0, 499.0]])
    assert naming(left, right).item() == pytest.approx(500 + math.log(1 + math.exp(-1)), rel=1e-6)


def test_nan_is_not_hidden():
    left, right = factors(3, 4)
    right[0, 3] = math.nan
    assert naming(left, right).isnan().all()


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that any operation made."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for one in out if isinstance(out, tuple | list) else [out]:
            if isinstance(one, torch.Tensor):
                self.numel = max(self.numel, one.numel())
        return out


def test_constant_candidates_are_never_all_scored_at_once():
    left, right = factors(256, 256, dtype=torch.float32)
    left.requires_grad_()
    more = torch.randn(4, 8192)
    with Largest() as largest:
        naming(left, right, more).sum().backward()
    assert largest.numel <= blocks.CACHED[0] * blocks.CACHED[1]


@pytest.mark.parametrize("shapes", [((3, 2), (3, 5)), ((3, 2), (2, 2)), ((3,), (3, 5))])
def test_other_shapes_are_refused(shapes):
    with pytest.raises(ShapeError, match="naming expects"):
        naming(*(torch.ones(shape) for shape in shapes))
