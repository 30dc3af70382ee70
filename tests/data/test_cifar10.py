"""CIFAR-10, from small pickles in the publishers' form."""

import pickle

import numpy as np
import pytest
import torch

from uncollapse.data import catalogue, load
from uncollapse.errors import BadInput

FOLDER = "cifar10/cifar-10-batches-py"


def batch(n, seed, **changes):
    rng = np.random.default_rng(seed)
    content = {b"data": rng.integers(0, 256, (n, 3072)).astype(np.uint8), b"labels": (np.arange(n) % 10).tolist()}
    return content | {key.encode(): value for key, value in changes.items()}


def write(folder, numbers=(1, 2, 3, 4, 5), **changes):
    folder.mkdir(parents=True, exist_ok=True)
    batches = {f"data_batch_{k}": batch(20, k) for k in numbers} | {"test_batch": batch(30, 9, **changes)}
    for name, content in batches.items():
        (folder / name).write_bytes(pickle.dumps(content, 3))
    return batches


@pytest.mark.parametrize("folder", [FOLDER, "cifar-10-batches-py", "cifar10"])
def test_all_batches(tmp_path, cache, folder):
    batches = write(tmp_path / folder)
    data = load("cifar10", data_dir=tmp_path)
    assert data.name == "cifar10"
    assert [len(part) for part in data.parts.values()] == [90, 10, 30]
    assert data.shape == (3, 32, 32)
    assert data.likelihood == "discretised-logistic"
    pixels = batches["test_batch"][b"data"]
    assert np.array_equal(data.test.x.numpy(), pixels.reshape(-1, 3, 32, 32))
    assert data.test.x[4, 2, 5, 6] == pixels[4, 2 * 1024 + 5 * 32 + 6]  # red, green, blue; each row by row
    assert data.test.y.tolist() == batches["test_batch"][b"labels"]
    assert data.classes[:2] == ("airplane", "automobile")
    assert data.train.y.bincount().tolist() == [9] * 10
    whole = np.concatenate([batches[f"data_batch_{k}"][b"data"] for k in range(1, 6)])
    both = torch.cat([data.train.x, data.valid.x]).flatten(1).long().sum(1).sort().values
    assert np.array_equal(both, np.sort(whole.sum(1, dtype=np.int64)))


def test_fewer_batches_have_another_name(tmp_path, cache):
    write(tmp_path / FOLDER, (3,))
    data = load("cifar10", data_dir=tmp_path)
    assert data.name == "cifar10-1of5"
    assert "data_batch_3" in data.note
    assert [len(part) for part in data.parts.values()] == [18, 2, 30]
    write(tmp_path / FOLDER, (1, 3))
    assert load("cifar10", data_dir=tmp_path).name == "cifar10-2of5"
    assert {entry.name: entry.present for entry in catalogue(tmp_path)}["cifar10"]
    (tmp_path / FOLDER / "test_batch").unlink()
    with pytest.raises(BadInput, match="cifar10 was not found"):
        load("cifar10", data_dir=tmp_path)


def test_class_names_come_from_their_file(tmp_path, cache):
    write(tmp_path / FOLDER)
    names = [f"thing {k}".encode() for k in range(10)]
    meta = tmp_path / FOLDER / "batches.meta"
    meta.write_bytes(pickle.dumps({b"label_names": names}, 3))
    assert load("cifar10", data_dir=tmp_path).classes[9] == "thing 9"
    meta.write_bytes(pickle.dumps({b"label_names": names[:9]}, 3))
    with pytest.raises(BadInput, match="ten names"):
        load("cifar10", data_dir=tmp_path)


def test_options(tmp_path, cache):
    write(tmp_path / FOLDER)
    data = load("cifar10", data_dir=tmp_path, likelihood="gaussian", scale=0.1, valid=20, limit=30, seed=4)
    assert data.likelihood_setting == {"gaussian": 0.1}
    assert [len(part) for part in data.parts.values()] == [30, 20, 30]
    for wrong, words in (
        ({"binarise": "dynamic"}, "shares of ink"),
        ({"likelihood": "bernoulli"}, "discretised-logistic or gaussian"),
        ({"valid": 99}, "at least two"),
    ):
        with pytest.raises(BadInput, match=words):
            load("cifar10", data_dir=tmp_path, **wrong)


BAD = {
    "rows": ({"data": np.zeros((30, 100), np.uint8)}, "3,072"),
    "type": ({"data": np.zeros((30, 3072), np.float32)}, "3,072"),
    "no data": ({"data": "text"}, "3,072"),
    "label": ({"labels": [10] * 30}, "0 to 9"),
    "no labels": ({"labels": None}, "0 to 9"),
    "fewer labels": ({"labels": [1]}, "30 images, but 1 labels"),
}


@pytest.mark.parametrize(("changes", "words"), BAD.values(), ids=list(BAD))
def test_wrong_contents(tmp_path, cache, changes, words):
    write(tmp_path / FOLDER, **changes)
    with pytest.raises(BadInput, match=words):
        load("cifar10", data_dir=tmp_path)


def test_the_second_start_reads_no_pickle(tmp_path, cache, monkeypatch):
    write(tmp_path / FOLDER)
    expected = load("cifar10", data_dir=tmp_path).fingerprint
    monkeypatch.setattr("uncollapse.data.cifar10.read_pickle", lambda path: pytest.fail("read again"))
    assert load("cifar10", data_dir=tmp_path).fingerprint == expected
