"""Storage, binarisation and batches of one part."""

import copy
import pickle

import pytest
import torch

from uncollapse.data import Part
from uncollapse.data.part import ROWS
from uncollapse.errors import BadInput, ShapeError


def bytes_part(n=50, **options):
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (n, 1, 4, 4), dtype=torch.uint8, generator=generator)
    return Part(x, torch.arange(n) % 3, **{"divisor": 255.0} | options)


def test_values_are_stored_numbers_over_the_divisor():
    part = bytes_part()
    index = torch.tensor([7, 0, 7])
    assert torch.equal(part.take(index), part.x[index].float() / 255)
    assert torch.equal(part.take([7, 0, 7]), part.take(index))
    assert torch.equal(part.tensor(), part.x.float() / 255)
    assert part.take(index).dtype == torch.float32
    assert (part.shape, len(part), part.nbytes) == ((1, 4, 4), 50, 50 * 16 + 50 * 8)


def test_dynamic_draws_follow_the_values_and_the_global_stream():
    part = bytes_part(n=4, binarise="dynamic")
    index = torch.arange(4)
    torch.manual_seed(5)
    first = part.take(index)
    second = part.take(index)
    torch.manual_seed(5)
    assert torch.equal(part.take(index), first)
    assert not torch.equal(first, second)
    assert set(first.unique().tolist()) == {0.0, 1.0}
    mean = torch.stack([part.take(index) for _ in range(4000)]).mean(0)
    value = part.x.float() / 255
    error = (value * (1 - value) / 4000).sqrt()
    assert ((mean - value).abs() <= 4.5 * error).all()


def test_no_ink_and_full_ink_are_certain():
    part = Part(torch.tensor([[0, 16], [16, 0]], dtype=torch.uint8), divisor=16, binarise="dynamic")
    for _ in range(200):
        assert torch.equal(part.take([0, 1]), torch.tensor([[0.0, 1.0], [1.0, 0.0]]))


def test_evaluation_of_a_dynamic_part_is_its_fixed_draw():
    dynamic, fixed = bytes_part(binarise="dynamic", seed=3), bytes_part(binarise="fixed", seed=3)
    assert torch.equal(dynamic.tensor(), fixed.tensor())
    assert torch.equal(fixed.take(torch.arange(50)), fixed.tensor())
    assert not torch.equal(bytes_part(binarise="fixed", seed=4).tensor(), fixed.tensor())
    assert fixed.drawn.dtype == torch.uint8


def test_fixed_draws_leave_the_global_stream_alone():
    part = bytes_part(binarise="fixed")
    torch.manual_seed(1)
    before = torch.get_rng_state()
    part.take([0, 1])
    list(part.batches(7))
    assert torch.equal(torch.get_rng_state(), before)


def test_fixed_draw_of_a_large_part_follows_the_values():
    n = 2 * ROWS + 17
    part = Part(torch.full((n, 3), 64, dtype=torch.uint8), divisor=256, binarise="fixed")
    assert abs(float(part.tensor().mean()) - 0.25) < 4.5 * (0.25 * 0.75 / (3 * n)) ** 0.5


@pytest.mark.parametrize("binarise", ["none", "fixed", "dynamic"])
@pytest.mark.parametrize("size", [1, 7, 50, 99])
def test_batches_are_the_whole_in_order(binarise, size):
    part = bytes_part(binarise=binarise)
    pieces = list(part.batches(size))
    assert torch.equal(torch.cat([x for x, _ in pieces]), part.tensor())
    assert torch.equal(torch.cat([y for _, y in pieces]), part.y)
    assert all(len(x) == size for x, _ in pieces[:-1])


def test_without_labels():
    part = Part(torch.rand(5, 2))
    assert next(part.batches(2))[1] is None
    assert "no labels" in repr(part)


def test_taking_batches_does_not_change_what_is_stored():
    x = torch.rand(6, 3)
    part = Part(x.clone(), divisor=2.0)
    part.take(torch.arange(6)).zero_()
    part.tensor().zero_()
    assert torch.equal(part.x, x)


def test_moving_keeps_values_and_draws():
    part = bytes_part(binarise="fixed")
    moved = part.to("cpu")
    assert torch.equal(moved.tensor(), part.tensor())
    assert torch.equal(part.take([3], device="cpu"), part.take([3]))
    early = bytes_part(binarise="fixed").to("cpu")
    assert torch.equal(early.tensor(), part.tensor())


def test_copies_and_pickles():
    part = bytes_part(binarise="fixed")
    for clone in (copy.deepcopy(part), pickle.loads(pickle.dumps(part))):
        assert torch.equal(clone.tensor(), part.tensor())


def test_a_part_cannot_be_changed():
    with pytest.raises(AttributeError):
        bytes_part().seed = 2


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"x": torch.rand(5)}, ShapeError, r"\(N, \*X\).*\(5,\)"),
        ({"x": torch.rand(0, 3)}, BadInput, "at least two"),
        ({"x": torch.rand(1, 3)}, BadInput, "at least two.*got 1"),
        ({"x": torch.rand(3, 0)}, ShapeError, "real numbers"),
        ({"x": torch.rand(3, 2, dtype=torch.complex64)}, ShapeError, "real numbers"),
        ({"x": [[1.0], [2.0]]}, ShapeError, "list"),
        ({"x": torch.tensor([[1.0], [float("nan")], [2.0]])}, BadInput, "1 of 3.*example 1"),
        ({"x": torch.tensor([[float("inf")], [1.0]])}, BadInput, "finite"),
        ({"y": torch.zeros(3, dtype=torch.long)}, ShapeError, r"\(4,\), got \(3,\)"),
        ({"y": torch.zeros(4, 1, dtype=torch.long)}, ShapeError, "one label"),
        ({"y": [0, 1, 2, 3]}, ShapeError, "list"),
        ({"y": torch.zeros(4)}, BadInput, "whole numbers"),
        ({"binarise": "static"}, BadInput, "'static'"),
        ({"divisor": 0}, BadInput, "divisor"),
        ({"divisor": float("nan")}, BadInput, "divisor"),
        ({"x": torch.full((4, 2), 3.0), "binarise": "dynamic"}, BadInput, "between 0 and 1.*3 to 3"),
        ({"x": torch.full((4, 2), -0.5), "binarise": "fixed"}, BadInput, "between 0 and 1"),
    ],
)
def test_bad_parts_are_refused(arguments, kind, words):
    with pytest.raises(kind, match=words):
        Part(**{"x": torch.rand(4, 2)} | arguments)


def test_batch_size_must_be_positive():
    with pytest.raises(BadInput, match="batch_size"):
        list(bytes_part().batches(0))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator")
def test_on_an_accelerator():
    part = bytes_part(binarise="dynamic")
    moved = part.to("cuda")
    assert torch.equal(moved.tensor().cpu(), part.tensor())
    for source in (part, moved):
        torch.manual_seed(2)
        first = source.take([1, 2], device="cuda")
        torch.manual_seed(2)
        assert torch.equal(source.take([1, 2], device="cuda"), first)
        assert first.is_cuda
