import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from uncollapse import VAE
from uncollapse.adapters import Adapted
from uncollapse.codes import Codes
from uncollapse.diagnosis.reading import digests, read
from uncollapse.errors import BadInput, ShapeError


def model():
    torch.manual_seed(0)
    return VAE(nn.Linear(6, 4), nn.Linear(2, 6), latent=2)


def reading(data, labels=None, keep=50, batch_size=16, one=None):
    return read(Adapted(one or model()), data, labels, keep, batch_size, seed=0)


X = torch.rand(100, 6, generator=torch.Generator().manual_seed(1))


def test_the_codes_are_those_of_one_pass():
    one = model()
    assert torch.equal(reading(X, one=one).codes.mean, Codes.of(one, X).mean)


def test_the_sample_is_part_of_the_data_at_its_rows():
    found = reading(X)
    assert found.x.shape == (50, 6)
    assert torch.equal(found.x, X[found.rows])
    assert (found.rows.diff() > 0).all()


def test_the_sample_does_not_favour_early_rows():
    means = [
        float(read(Adapted(model()), X, None, 10, 7, seed=seed).rows.float().mean()) for seed in range(40)
    ]  # fmt: skip
    assert abs(np.mean(means) - 49.5) < 5  # a mean of 10 of 100 rows has a standard deviation of 8.7


def test_the_sample_does_not_depend_on_the_batch_size():
    assert torch.equal(reading(X, batch_size=7).rows, reading(X, batch_size=100).rows)


@pytest.mark.parametrize(
    "data",
    [
        X.numpy(),
        (X, torch.arange(100) % 3),
        DataLoader(TensorDataset(X, torch.arange(100) % 3), batch_size=9),
        [{"image": X[:50], "label": torch.zeros(50)}, {"image": X[50:], "label": torch.ones(50)}],
        [{"anything": X}],
        {"x": X, "y": torch.zeros(100)},
        iter([X[:30], X[30:]]),
    ],
    ids=["array", "pair", "loader", "dicts", "lone tensor", "one dict", "iterator"],
)
def test_data_in_many_forms(data):
    assert len(reading(data).codes) == 100


def test_labels_of_dictionaries_are_found():
    found = reading([{"pixel_values": X, "labels": torch.arange(100)}])
    assert torch.equal(found.codes.labels, torch.arange(100))


def test_a_dictionary_without_inputs_is_refused():
    with pytest.raises(ShapeError, match="under one of x"):
        reading([{"left": X, "right": X}])


def test_words_as_labels_keep_their_names():
    found = reading(X, labels=["cat", "dog"] * 50)
    assert found.names == ("cat", "dog")
    assert torch.equal(found.codes.labels, torch.arange(100) % 2)


def test_labels_of_another_length_are_refused():
    with pytest.raises(BadInput, match="one label for each of the 100"):
        reading(X, labels=torch.zeros(99))


def test_inputs_with_nan_posteriors_are_set_aside():
    broken = X.clone()
    broken[[3, 70]] = torch.nan
    found = reading(broken, labels=torch.arange(100))
    assert found.total == 100
    assert found.dropped.tolist() == [3, 70]
    assert len(found.codes) == 98
    assert found.x.isfinite().all()
    # rows still point at the right codes
    one = model()
    assert torch.allclose(one.posterior(found.x).mean, found.codes.mean[found.rows], atol=1e-6)
    assert set(found.codes.labels.tolist()) == set(range(100)) - {3, 70}


def test_copies_are_counted_once():
    assert reading(X[:5].repeat(20, 1)).distinct == 5
    assert reading(X).distinct == 100


def test_digests_differ_with_one_bit():
    other = X.clone()
    other[0, 0] = torch.nextafter(other[0, 0], torch.tensor(2.0))
    assert digests(other)[0] != digests(X)[0]
    assert digests(other)[1:] == digests(X)[1:]


def test_whole_numbers_to_255_are_remarked_on():
    bytes_as_floats = (torch.rand(40, 20) * 255).round()
    one = VAE(nn.Linear(20, 4), nn.Linear(2, 20), latent=2)
    assert "divide them by 255" in reading(bytes_as_floats, one=one).remarks[0]
    assert not reading(X).remarks


def test_no_example_is_refused():
    with pytest.raises(ShapeError):
        reading(X[:0])
