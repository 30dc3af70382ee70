"""Input-convex networks: convexity, and the gradient in closed form."""

import pytest
import torch
from torch.autograd.functional import hessian

from uncollapse.errors import BadInput
from uncollapse.nets import ICNN

KINDS = [
    {},
    {"layers": 1},
    {"layers": 3, "weights": "exp"},
    {"convexity": 0.7, "weights": "clamp"},
    {"activation": "leaky_relu"},
    {"activation": "leaky_relu", "layers": 3, "convexity": 1.5},
]


def build(inputs=4, **given):
    torch.manual_seed(0)
    return ICNN(inputs, **{"hidden": 9} | given).double()


def codes(n=50, inputs=4, scale=2.0):
    return scale * torch.randn(n, inputs, generator=torch.Generator().manual_seed(1)).double()


def bend(value, kind):
    if kind == "leaky_relu":
        return value if value > 0 else 0.2 * value
    return 0.2 * value + 0.8 * torch.log1p(torch.exp(-abs(value))) + 0.8 * max(value, 0 * value)


@pytest.mark.parametrize("given", KINDS)
def test_the_potential_unit_by_unit(given):
    psi, z = build(**given), codes(3)
    for row, found in zip(z, psi(z), strict=True):
        h = [bend(a @ row + b, "leaky_relu") ** 2 for a, b in zip(psi.first.weight, psi.first.bias, strict=True)]
        for affine, mix in zip(psi.passes, psi.mixes, strict=True):
            weights = mix()
            h = [
                bend(sum(w * one for w, one in zip(weights[k], h, strict=True)) + affine(row)[k], psi.activation)
                for k in range(len(weights))
            ]
        torch.testing.assert_close(found, h[0] + 0.5 * psi.convexity * (row**2).sum())


@pytest.mark.parametrize("given", KINDS)
def test_the_closed_form_is_the_gradient(given):
    psi, z = build(**given), codes().requires_grad_()
    torch.testing.assert_close(psi.gradient(z), torch.autograd.grad(psi(z).sum(), z)[0])


@pytest.mark.parametrize("given", KINDS)
def test_convex_along_every_chord(given):
    psi = build(**given)
    a, b = codes(400)[:200], 3 * codes(400)[200:]
    with torch.no_grad():
        for share in (0.1, 0.5, 0.8):
            between = psi(share * a + (1 - share) * b)
            chord = share * psi(a) + (1 - share) * psi(b)
            gap = 0.5 * psi.convexity * share * (1 - share) * (a - b).square().sum(1)
            assert (between < chord - gap).all()


@pytest.mark.parametrize("given", KINDS)
def test_the_jacobian_of_the_gradient_is_symmetric_and_positive(given):
    psi = build(**given)
    for row in codes(10):
        table = torch.autograd.functional.jacobian(lambda z: psi.gradient(z[None])[0], row)
        torch.testing.assert_close(table, table.T)
        torch.testing.assert_close(table, hessian(lambda z: psi(z[None])[0], row))
        assert torch.linalg.eigvalsh(table).min() > psi.convexity


def test_entries_stay_positive_whatever_the_parameters():
    for kind in ("softplus", "exp", "clamp"):
        mix = build(weights=kind).mixes[0]
        torch.testing.assert_close(mix().sum(1).mean().item(), 1.0, atol=0.2, rtol=0)
        with torch.no_grad():
            mix.raw.normal_(std=5.0)
        assert (mix() > 0).all()
    assert torch.allclose(build(weights="exp").mixes[0](), build().mixes[0]())  # all start alike


def test_the_paper_activation_jumps_and_its_later_biases_are_not_trained():
    sharp, smooth = build(activation="leaky_relu"), build()
    largest = []
    for points in (2001, 20001):
        line = torch.linspace(-6, 6, points).double()[:, None] * torch.ones(1, 4).double()
        largest.append([psi.gradient(line).diff(dim=0).norm(dim=1).max().item() for psi in (sharp, smooth)])
    (coarse_jump, coarse), (jump, fine) = largest
    assert jump > 0.5 * coarse_jump  # a jump stays, however fine the steps
    assert fine < 0.2 * coarse
    assert [name for name, p in sharp.named_parameters() if not p.requires_grad] == ["passes.0.bias", "passes.1.bias"]
    assert all(p.requires_grad for p in smooth.parameters())


def test_no_autograd_is_needed_and_double_backward_works():
    psi, z = build(hidden=5), codes(3)
    plain = psi.gradient(z)
    with torch.no_grad():
        assert torch.equal(psi.gradient(z), plain)
    with torch.inference_mode():
        assert torch.equal(psi.gradient(z), plain)
    z.requires_grad_()
    assert torch.autograd.gradcheck(psi.gradient, z)
    assert torch.autograd.gradgradcheck(psi.gradient, z)


def test_half_precision():
    psi, z = build(hidden=32).float(), codes().float()
    with torch.autocast("cpu", torch.bfloat16):
        rough = psi.gradient(z)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, psi.gradient(z), rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"hidden": 0}, "hidden and layers"),
        ({"layers": True}, "hidden and layers"),
        ({"convexity": -1.0}, "convexity"),
        ({"convexity": float("nan")}, "convexity"),
        ({"weights": "square"}, "weights should be one of softplus, exp, clamp"),
        ({"activation": "relu"}, "activation should be one of softplus, leaky_relu"),
    ],
)
def test_settings_that_make_no_sense(given, words):
    with pytest.raises(BadInput, match=words):
        ICNN(4, **given)
