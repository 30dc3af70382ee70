"""The MNIST family, from small files in the same format."""

import gzip
import struct

import numpy as np
import pytest
import torch

from uncollapse.data import catalogue, load
from uncollapse.errors import BadInput

COUNT = {"train": 60, "t10k": 20, "test": 20}
EMNIST = {"balanced": 47, "letters": 26, "byclass": 62}


def pack(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write(folder, zipped=True, dot="-", prefix="", test="t10k", classes=10, first=0, seed=0):
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    arrays = {}
    for part in ("train", test):
        n = COUNT[part]
        arrays[part] = (
            rng.integers(0, 256, (n, 28, 28)).astype(np.uint8),
            (first + np.arange(n) % classes).astype(np.uint8),
        )
        for kind, array, rank in zip(("images", "labels"), arrays[part], (3, 1), strict=True):
            name = f"{prefix}{part}-{kind}{dot}idx{rank}-ubyte" + ".gz" * zipped
            (folder / name).write_bytes(gzip.compress(pack(array), 1) if zipped else pack(array))
    return arrays


@pytest.fixture(autouse=True)
def _no_real_data(monkeypatch, tmp_path):
    monkeypatch.delenv("UNCOLLAPSE_DATA", raising=False)
    for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("name", "folder", "zipped", "dot"),
    [
        ("mnist", "mnist", True, "-"),
        ("mnist", "MNIST/raw", False, "-"),
        ("mnist", "mnist", False, "."),
        ("fashion-mnist", "fashion_mnist", True, "-"),
        ("fashion-mnist", "fashion-mnist", True, "-"),
        ("fashion-mnist", "FashionMNIST/raw", False, "-"),
        ("kmnist", "kmnist", True, "-"),
    ],
)
def test_found_and_read(tmp_path, name, folder, zipped, dot):
    arrays = write(tmp_path / "data" / folder, zipped, dot)
    data = load(name, data_dir=tmp_path / "data", valid=10)
    assert data.shape == (1, 28, 28)
    assert [len(part) for part in data.parts.values()] == [50, 10, 20]
    assert data.test.x.dtype == torch.uint8
    assert np.array_equal(data.test.x[:, 0].numpy(), arrays["t10k"][0])
    assert np.array_equal(data.test.y.numpy(), arrays["t10k"][1])
    both = torch.cat([data.train.x, data.valid.x]).flatten(1).long().sum(1).sort().values
    assert torch.equal(both, torch.from_numpy(arrays["train"][0]).flatten(1).long().sum(1).sort().values)
    assert data.train.y.bincount().tolist() == [5] * 10
    assert [part.binarise for part in data.parts.values()] == ["dynamic", "fixed", "fixed"]
    assert data.name == name
    assert data.citation
    assert len(data.classes) == 10


def test_the_folder_itself_and_the_environment(tmp_path, monkeypatch):
    write(tmp_path / "mnist")
    direct = load("mnist", data_dir=tmp_path / "mnist", valid=10)
    monkeypatch.setenv("UNCOLLAPSE_DATA", str(tmp_path))
    assert load("mnist", valid=10).fingerprint == direct.fingerprint
    present = {entry.name for entry in catalogue() if entry.present}
    assert present == {"digits", "gaussian-mixture", "mnist"}


def test_the_cache_is_searched_last(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    write(tmp_path / "cache" / "uncollapse" / "data" / "mnist")
    write(tmp_path / "mine" / "mnist", seed=1)
    cached = load("mnist", valid=10)
    assert load("mnist", data_dir=tmp_path / "mine", valid=10).fingerprint != cached.fingerprint
    assert load("mnist", data_dir=tmp_path / "empty", valid=10).fingerprint == cached.fingerprint


@pytest.mark.parametrize(
    ("platform", "words"),
    [("linux", "/cache/uncollapse/data"), ("darwin", "Library/Caches/uncollapse"), ("win32", "cache/uncollapse/data")],
)
def test_absent_files_are_named_with_their_places(tmp_path, monkeypatch, platform, words):
    monkeypatch.setattr("sys.platform", platform)
    with pytest.raises(BadInput) as caught:
        load("fashion-mnist", data_dir=tmp_path / "here")
    message = str(caught.value)
    for part in ("train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz", str(tmp_path / "here"), words):
        assert part in message.replace("\\", "/")


def test_valid_and_limit(tmp_path):
    write(tmp_path / "mnist")
    data = load("mnist", data_dir=tmp_path, valid=10, limit=20)
    whole = load("mnist", data_dir=tmp_path, valid=10)
    assert [len(part) for part in data.parts.values()] == [20, 10, 20]
    assert data.train.y.bincount().tolist() == [2] * 10
    assert torch.equal(data.valid.x, whole.valid.x)
    kept = {bytes(image.numpy().tobytes()) for image in whole.train.x}
    assert all(image.numpy().tobytes() in kept for image in data.train.x)
    assert load("mnist", data_dir=tmp_path, valid=10, limit=50).fingerprint == whole.fingerprint
    assert len(load("mnist", data_dir=tmp_path, valid=10, limit=49).train) == 49
    assert load("mnist", seed=1, data_dir=tmp_path, valid=10).fingerprint != whole.fingerprint
    for wrong in ({}, {"valid": 0}, {"valid": 59}, {"valid": 10, "limit": 51}, {"valid": 10, "limit": 1}):
        with pytest.raises(BadInput, match="60 training images"):
            load("mnist", data_dir=tmp_path, **wrong)


@pytest.mark.parametrize("variant", EMNIST)
def test_emnist_is_turned_upright_and_its_letters_count_from_0(tmp_path, variant):
    classes, first = EMNIST[variant], int(variant == "letters")
    arrays = write(tmp_path / "emnist", prefix=f"emnist-{variant}-", test="test", classes=min(classes, 12), first=first)
    options = {} if variant == "balanced" else {"variant": variant}
    data = load("emnist", data_dir=tmp_path, valid=12, **options)
    assert np.array_equal(data.test.x[:, 0].numpy(), arrays["test"][0].transpose(0, 2, 1))
    assert np.array_equal(data.test.y.numpy(), arrays["test"][1] - first)
    assert len(data.classes) == classes
    with pytest.raises(BadInput, match="mean 'letters'"):
        load("emnist", data_dir=tmp_path, variant="leters")


def test_files_that_do_not_fit_each_other(tmp_path):
    arrays = write(tmp_path / "mnist", zipped=False)
    labels = tmp_path / "mnist" / "train-labels-idx1-ubyte"
    labels.write_bytes(pack(arrays["train"][1][:-1]))
    with pytest.raises(BadInput, match=r"60 images.*59 labels"):
        load("mnist", data_dir=tmp_path, valid=10)
    labels.write_bytes(pack(arrays["train"][1] + 1))
    with pytest.raises(BadInput, match="10 classes, got 1 to 10"):
        load("mnist", data_dir=tmp_path, valid=10)
    labels.write_bytes(pack(arrays["train"][0]))
    with pytest.raises(BadInput, match="swapped"):
        load("mnist", data_dir=tmp_path, valid=10)
    labels.write_bytes(pack(arrays["train"][1]))
    images = tmp_path / "mnist" / "train-images-idx3-ubyte"
    images.write_bytes(b"\0\0\x09\x03" + images.read_bytes()[4:])
    with pytest.raises(BadInput, match="should hold bytes"):
        load("mnist", data_dir=tmp_path, valid=10)
