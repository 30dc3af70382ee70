import math

import pytest
import torch

from uncollapse import Objective
from uncollapse.errors import BadInput
from uncollapse.remedies import Anneal, Beta, Capacity, Cyclical, FreeBits
from uncollapse.schedules import Linear

KL = torch.tensor([[0.0, 2.0], [1.0, 0.0], [0.0, 0.0]])


def random_kl(seed=0, n=7, d=5):
    return 3 * torch.rand(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def at(remedy, step):
    remedy.step = step
    return remedy


def free_bits_by_loops(kl, floor, mode):
    n, d = kl.shape
    if mode == "batch_mean":
        return sum(max(floor, sum(kl[i][j].item() for i in range(n)) / n) for j in range(d))
    if mode == "per_dimension":
        return sum(max(floor, kl[i][j].item()) for i in range(n) for j in range(d)) / n
    return sum(max(floor, sum(kl[i][j].item() for j in range(d))) for i in range(n)) / n


@pytest.mark.parametrize(("mode", "value"), [("batch_mean", 7 / 6), ("per_dimension", 5 / 3), ("per_example", 7 / 6)])
def test_free_bits_on_the_published_case(mode, value):
    assert FreeBits(0.5, mode).rate(KL).sum(1).mean().item() == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("mode", ["batch_mean", "per_dimension", "per_example"])
@pytest.mark.parametrize("floor", [0.0, 0.5, 1.5, 8.0, 40.0])
def test_free_bits_against_loops(mode, floor):
    kl = random_kl()
    rate = FreeBits(floor, mode).rate(kl)
    assert rate.shape == kl.shape
    assert rate.sum(1).mean().item() == pytest.approx(free_bits_by_loops(kl, floor, mode), rel=1e-12)


def test_free_bits_variants_differ_in_whose_gradient_is_cut():
    slopes = {}
    for mode in ("batch_mean", "per_dimension", "per_example"):
        kl = KL.clone().requires_grad_()
        FreeBits(0.5, mode).rate(kl).sum().backward()
        slopes[mode] = kl.grad
    # batch means are 1/3 and 2/3: the second latent pays for every example, the first for none
    assert slopes["batch_mean"].tolist() == [[0, 1], [0, 1], [0, 1]]
    assert slopes["per_dimension"].tolist() == [[0, 1], [1, 0], [0, 0]]
    assert slopes["per_example"].tolist() == [[1, 1], [1, 1], [0, 0]]


def test_beta_anneal_and_cyclical_multiply():
    assert torch.equal(Beta(0.25).rate(KL), 0.25 * KL)
    assert torch.equal(at(Anneal(over=10, start=0.5), 0).rate(KL), 0.5 * KL)
    assert torch.equal(at(Anneal(over=10, delay=10), 15).rate(KL), 0.5 * KL)
    assert torch.equal(at(Anneal(over=10, end=0.5), 99).rate(KL), 0.5 * KL)
    assert torch.equal(at(Anneal(Linear(0, 2, over=4)), 2).rate(KL), KL)
    weights = [at(Cyclical(over=8, cycles=2), step).current_weight for step in range(10)]
    assert weights == [0, 0.5, 1, 1, 0, 0.5, 1, 1, 1, 1]


def test_they_say_when_they_arrive():
    assert Anneal(over=10, delay=5).arrives == 15
    assert Cyclical(over=80).arrives == 80
    assert Capacity(5.0, strength=Linear(0, 1, over=30), over=20).arrives == 30
    assert Beta(4.0).arrives == FreeBits().arrives == 0


@pytest.mark.parametrize("target", [0.5, 3.0, 20.0])
def test_capacity_is_the_distance_of_the_mean_from_the_target(target):
    kl = random_kl().requires_grad_()
    rate = Capacity(target, strength=7.0).rate(kl)
    expected = 7.0 * (kl.sum(1).mean() - target).abs()
    assert rate.sum(1).mean().item() == pytest.approx(expected.item(), rel=1e-12)
    assert torch.equal(*(torch.autograd.grad(value, kl)[0].sign() for value in (rate.sum(1).mean(), expected)))


@pytest.mark.parametrize("target", [0.5, 7.0, 20.0])
def test_capacity_per_example(target):
    kl = random_kl().requires_grad_()
    rate = Capacity(target, strength=7.0, mode="per_example").rate(kl)
    expected = 7.0 * (kl.sum(1) - target).abs()
    torch.testing.assert_close(rate.sum(1), expected)
    slopes = [torch.autograd.grad(value.sum(), kl)[0] for value in (rate, expected)]
    torch.testing.assert_close(*slopes)


def test_capacity_target_rises():
    remedy = Capacity(target=4.0, over=10)
    kl = torch.full((2, 1), 4.0)
    assert [at(remedy, step).rate(kl).sum(1).mean().item() for step in (0, 5, 10, 50)] == pytest.approx([4, 2, 0, 0])


def test_order_is_composition():
    kl = torch.tensor([[0.1, 3.0]])
    ahead = Objective([Beta(0.5), FreeBits(1.0)]).rate(kl)
    behind = Objective([FreeBits(1.0), Beta(0.5)]).rate(kl)
    torch.testing.assert_close(ahead, torch.tensor([[1.0, 1.5]]))
    torch.testing.assert_close(behind, torch.tensor([[0.5, 1.5]]))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Beta(-1),
        lambda: Beta(math.nan),
        lambda: Beta("2"),
        lambda: Anneal(over=0),
        lambda: Anneal(over=2.5),
        lambda: Anneal(over=10, start=-1),
        lambda: Anneal(Linear(0, 1, 10), delay=5),
        lambda: Cyclical(over=2, cycles=4),
        lambda: Cyclical(over=80, ramp=0),
        lambda: FreeBits(-0.1),
        lambda: FreeBits(0.5, "per_dim"),
        lambda: Capacity(-1),
        lambda: Capacity(5, strength=-1),
        lambda: Capacity(5, over=-3),
        lambda: Capacity(Linear(0, 1, 10), over=5),
        lambda: Capacity(5, mode="mean"),
    ],
)
def test_bad_arguments_are_refused(make):
    with pytest.raises(BadInput):
        make()


def test_text_holds_every_argument():
    assert repr(Beta(4)) == "Beta(beta=4)"
    assert repr(FreeBits(0.25, "batch_mean")) == "FreeBits(floor=0.25, mode='batch_mean')"
    assert repr(Capacity(5, 10)) == "Capacity(target=5, strength=10, mode='batch_mean')"
    assert "cycles=2" in repr(Cyclical(80, cycles=2))
