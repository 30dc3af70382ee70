"""From tensors, arrays and pairs."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from uncollapse.data import DataSet, as_data, from_tensors
from uncollapse.data.tensors import as_values, split_index
from uncollapse.errors import BadInput, ShapeError


@pytest.mark.parametrize("labelled", [True, False])
def test_a_split_is_disjoint_complete_sized_and_seeded(labelled):
    y = torch.arange(103) % 7 if labelled else None
    parts = split_index(103, (0.7, 0.2, 0.1), y, seed=1)
    assert [len(part) for part in parts] == [72, 21, 10]
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(103))
    assert all(torch.equal(part, part.sort().values) for part in parts)
    again, other = split_index(103, (0.7, 0.2, 0.1), y, seed=1), split_index(103, (0.7, 0.2, 0.1), y, seed=2)
    assert all(map(torch.equal, parts, again))
    assert not torch.equal(parts[0], other[0])


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_classes_are_spread_evenly(seed):
    y = torch.from_numpy(np.random.default_rng(seed).choice(4, 1000, p=[0.4, 0.3, 0.2, 0.1]))
    whole = y.bincount().float()
    for part, share in zip(split_index(1000, (0.8, 0.1, 0.1), y, seed), (0.8, 0.1, 0.1), strict=True):
        assert ((y[part].bincount(minlength=4) - share * whole).abs() <= 2).all()


@pytest.mark.parametrize("fractions", [(1.0,), (0.5, 0.6), (0.5, 0.5, 0.0), (1.5, -0.5)])
def test_fractions_must_make_sense(fractions):
    with pytest.raises(BadInput, match="fractions"):
        split_index(100, fractions)


@pytest.mark.parametrize(
    ("array", "dtype", "divisor"),
    [
        (np.random.default_rng(0).random((20, 3)), torch.float32, 1.0),
        (np.random.default_rng(0).random((20, 3)).astype(np.float16), torch.float16, 1.0),
        (np.arange(60, dtype=np.uint8).reshape(20, 3) * 4, torch.uint8, 255.0),
        (np.arange(60).reshape(20, 3) % 2, torch.uint8, 1.0),
        (np.arange(60).reshape(20, 3) % 2 == 0, torch.uint8, 1.0),
        (np.arange(60).reshape(20, 3) * 100, torch.int64, 1.0),
        (np.arange(60, dtype=np.int16).reshape(20, 3) - 30, torch.int16, 1.0),
        (np.random.default_rng(0).random((20, 3)).astype(">f4"), torch.float32, 1.0),
    ],
)
def test_the_smallest_honest_type(array, dtype, divisor):
    data = from_tensors(array)
    assert data.train.x.dtype == dtype
    assert data.train.divisor == divisor
    total = sum(float(part.tensor().double().sum()) for part in data.parts.values())
    assert total == pytest.approx(array.astype(float).sum() / divisor, rel=1e-5)


def test_only_bytes_are_taken_for_grey_levels():
    assert from_tensors(torch.arange(60).reshape(20, 3)).train.divisor == 1.0
    assert from_tensors(torch.arange(60).reshape(20, 3).byte() * 4).train.divisor == 255.0
    assert from_tensors(torch.arange(60).reshape(20, 3).byte() % 2).train.divisor == 1.0
    assert from_tensors(torch.arange(60).reshape(20, 3).byte() % 17, divisor=16).train.divisor == 16


def test_bytes_of_few_levels_are_remarked_on():
    with pytest.warns(UserWarning, match="at most 16 are read as shares of 255"):
        assert from_tensors(torch.arange(60).reshape(20, 3).byte() % 17).train.divisor == 255


def test_a_tensor_data_set_is_its_tensors():
    x, y = torch.rand(20, 3), torch.arange(20) % 2
    assert torch.equal(as_data(TensorDataset(x, y)).train.x, as_data((x, y)).train.x)
    assert as_data(TensorDataset(x)).train.y is None
    with pytest.raises(ShapeError, match="tensors behind a loader"):
        as_data(DataLoader(TensorDataset(x)))


def test_values_for_metrics_are_those_for_training():
    x = torch.arange(60).reshape(20, 3).byte() * 4
    part = from_tensors(x, valid=x).train
    assert torch.equal(as_values(x), part.tensor())


def test_likelihood_follows_the_range():
    assert from_tensors(torch.rand(20, 3)).likelihood == "bernoulli"
    assert from_tensors(torch.randn(20, 3)).likelihood == "gaussian"
    with pytest.raises(BadInput, match="between 0 and 1"):
        from_tensors(torch.randn(20, 3), likelihood="bernoulli")


def test_read_only_and_differentiable_inputs_are_fine():
    array = np.random.default_rng(0).random((20, 3)).astype(np.float32)
    array.flags.writeable = False
    assert len(from_tensors(array, valid=array).train) == 20
    assert not from_tensors(torch.rand(20, 3, requires_grad=True)).train.x.requires_grad


def test_held_out_parts_as_given():
    train, valid, test = torch.rand(8, 3), (torch.rand(4, 3), torch.zeros(4)), np.random.rand(5, 3)
    data = from_tensors(train, torch.zeros(8), valid=valid, test=test)
    assert torch.equal(data.train.x, train)
    assert [len(part) for part in data.parts.values()] == [8, 4, 5]
    assert data.test.y is None
    assert data.valid.y.dtype == torch.long
    twice = from_tensors(train, valid=valid)
    assert torch.equal(twice.test.x, twice.valid.x)


def test_seeds_of_the_fixed_draws_differ_between_parts():
    x = torch.full((500, 2), 0.5)
    data = from_tensors(x, valid=x, test=x, binarise="fixed")
    drawn = [part.tensor() for part in data.parts.values()]
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[1], drawn[2])
    assert torch.equal(from_tensors(x, valid=x, test=x, binarise="fixed").train.tensor(), drawn[0])


def test_as_data_takes_what_people_have():
    x, y = torch.rand(30, 2), torch.arange(30) % 3
    whole = from_tensors(x)
    assert as_data(whole) is whole
    assert as_data(x).fingerprint == whole.fingerprint
    assert as_data(x.numpy()).fingerprint == whole.fingerprint
    assert as_data((x, y)).train.y is not None
    assert as_data([x, y.numpy()]).fingerprint == as_data((x, y)).fingerprint
    for given, sizes in [
        ((x, x[:10]), [30, 10, 10]),
        (((x, y), (x[:10], y[:10])), [30, 10, 10]),
        ((x, x[:10], x[:5]), [30, 10, 5]),
        (((x, y), x[:10], (x[:5], y[:5])), [30, 10, 5]),
    ]:
        data = as_data(given)
        assert isinstance(data, DataSet)
        assert [len(part) for part in data.parts.values()] == sizes
    assert as_data(x).train.binarise == "none"


@pytest.mark.parametrize(
    "given", [None, 3, "digits", [], [1, 2], (torch.rand(5, 2),), [torch.rand(5, 2)] * 4, {"x": torch.rand(5, 2)}]
)
def test_as_data_refuses_the_rest(given):
    with pytest.raises(ShapeError, match="data should be"):
        as_data(given)


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"x": torch.rand(0, 3)}, BadInput, "at least two"),
        ({"x": torch.rand(1, 3)}, BadInput, "at least two"),
        ({"x": torch.rand(10, 3)}, BadInput, "10 examples are too few.*80%, 10%, 10%"),
        ({"x": torch.rand(40)}, ShapeError, r"\(N, \*X\)"),
        ({"x": torch.tensor(3.0)}, ShapeError, r"\(N, \*X\)"),
        ({"x": torch.full((40, 2), float("nan"))}, BadInput, "finite"),
        ({"x": torch.rand(40, 2).double() * 1e300}, BadInput, "finite"),
        ({"x": np.array([["a"], ["b"]])}, ShapeError, "numeric array"),
        ({"x": np.array([[object()], [None]])}, ShapeError, "numeric array"),
        ({"x": [[1.0]]}, ShapeError, "list"),
        ({"y": torch.zeros(39)}, ShapeError, r"\(40,\), got \(39,\)"),
        ({"y": torch.full((40,), 0.5)}, BadInput, "whole numbers"),
        ({"y": torch.full((40,), float("nan"))}, BadInput, "whole numbers"),
        ({"y": torch.zeros(40, 2)}, ShapeError, "one label"),
        ({"test": torch.rand(5, 2)}, BadInput, "valid="),
        ({"valid": torch.rand(5, 3)}, ShapeError, r"valid has \(3,\)"),
        ({"binarise": "sometimes"}, BadInput, "'sometimes'"),
        ({"divisor": -1}, BadInput, "divisor"),
        ({"x": torch.rand(40, 2) * 2, "binarise": "dynamic"}, BadInput, "between 0 and 1"),
    ],
)
def test_bad_input_is_one_clear_sentence(arguments, kind, words):
    with pytest.raises(kind, match=words) as caught:
        from_tensors(**{"x": torch.rand(40, 2)} | arguments)
    assert "\n" not in str(caught.value)
