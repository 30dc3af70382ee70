"""Small NORB, from short files of the same format."""

import gzip
import struct

import numpy as np
import pytest

from uncollapse.data import load
from uncollapse.errors import BadInput

STEMS = {"train": "smallnorb-5x46789x9x18x6x2x96x96-training-", "test": "smallnorb-5x01235x9x18x6x2x96x96-testing-"}


def pack(array):
    magic = {"uint8": 0x1E3D4C55, "int32": 0x1E3D4C54}[str(array.dtype)]
    sides = [*array.shape, *[1] * (3 - array.ndim)]
    return struct.pack(f"<II{len(sides)}I", magic, array.ndim, *sides) + array.tobytes()


def write(folder, zipped=False, n=30):
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for part, stem in STEMS.items():
        images = rng.integers(0, 256, (n, 2, 96, 96)).astype(np.uint8)
        arrays[part] = images, (np.arange(n) % 5).astype(np.int32)
        for kind, array in zip(("dat", "cat"), arrays[part], strict=True):
            content = pack(array)
            name = f"{stem}{kind}.mat"
            (folder / (name + ".gz" * zipped)).write_bytes(gzip.compress(content, 1) if zipped else content)
    return arrays


@pytest.mark.parametrize("zipped", [False, True])
def test_cameras(tmp_path, cache, zipped):
    arrays = write(tmp_path / "smallnorb", zipped)
    images, labels = arrays["test"]
    left, right, both = (load("smallnorb", data_dir=tmp_path, camera=side) for side in ("left", "right", "both"))
    assert [len(part) for part in left.parts.values()] == [27, 3, 30]
    assert np.array_equal(left.test.x.numpy(), images[:, :1])
    assert np.array_equal(right.test.x.numpy(), images[:, 1:])
    assert np.array_equal(both.test.x.numpy(), images)
    assert left.test.y.tolist() == labels.tolist()
    assert left.classes[0] == "animal"
    assert load("smallnorb", data_dir=tmp_path).fingerprint == left.fingerprint


def test_smaller(tmp_path, cache):
    images, _ = write(tmp_path / "smallnorb")["test"]
    data = load("smallnorb", data_dir=tmp_path, size=48, camera="both")
    assert data.shape == (2, 48, 48)
    expected = images.reshape(30, 2, 48, 2, 48, 2).mean((3, 5))
    assert np.abs(data.test.x.numpy() - expected).max() <= 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"camera": "middle"}, "left, right or both"),
        ({"size": 0}, "size"),
        ({"size": 97}, "size"),
        ({"binarise": "fixed"}, "ink"),
    ],
)
def test_options(tmp_path, cache, options, words):
    with pytest.raises(BadInput, match=words):
        load("smallnorb", data_dir=tmp_path, **options)


@pytest.mark.parametrize(
    ("kind", "content", "words"),
    [
        ("dat", b"", "ends too early"),
        ("dat", b"\0" * 40, "not a NORB matrix"),
        ("dat", struct.pack("<II4I", 0x1E3D4C55, 4, 2**31, 2, 96, 96), r"should hold bytes \(30, 2, 96, 96\)"),
        ("dat", struct.pack("<II4I", 0x1E3D4C55, 4, 30, 2, 96, 96) + b"\0" * 999, "ends too early"),
        ("dat", struct.pack("<II", 0x1E3D4C55, 2**31), "not a NORB matrix"),
        ("dat", b"\x1f\x8b" + b"\0" * 50, "damaged gzip"),
        ("cat", struct.pack("<II3I", 0x1E3D4C54, 1, 2**31, 1, 1), "more than the"),
        ("cat", struct.pack("<II3I", 0x1E3D4C54, 1, 31, 1, 1), "ends too early"),
        ("cat", pack(np.full(30, 5, np.int32)), "labels from 0 to 4"),
        ("cat", pack(np.zeros((5, 6), np.int32)), "labels from 0 to 4"),
        ("cat", pack(np.zeros(29, np.int32)), r"should hold bytes \(29"),
    ],
)
def test_damaged_files(tmp_path, cache, kind, content, words):
    write(tmp_path / "smallnorb")
    (tmp_path / "smallnorb" / f"{STEMS['test']}{kind}.mat").write_bytes(content)
    with pytest.raises(BadInput, match=words):
        load("smallnorb", data_dir=tmp_path)
