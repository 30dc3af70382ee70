"""Street View House Numbers, from small MATLAB files."""

import numpy as np
import pytest
from scipy.io import savemat

from uncollapse.data import load
from uncollapse.errors import BadInput


def write(folder, **changes):
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for name, n in (("train", 50), ("test", 20)):
        arrays[name] = {
            "X": rng.integers(0, 256, (32, 32, 3, n)).astype(np.uint8),
            "y": (np.arange(n) % 10 + 1).astype(np.uint8)[:, None],
        }
        savemat(folder / f"{name}_32x32.mat", arrays[name] | (changes if name == "test" else {}), do_compression=True)
    return arrays


def test_upright_and_ten_is_nought(tmp_path, cache):
    arrays = write(tmp_path / "svhn")
    for _ in range(2):  # read, then mapped
        data = load("svhn", data_dir=tmp_path)
        assert [len(part) for part in data.parts.values()] == [45, 5, 20]
        assert data.shape == (3, 32, 32)
        x = arrays["test"]["X"]
        assert data.test.x[7, 2, 11, 5] == x[11, 5, 2, 7]  # (row, column, colour, N)
        assert np.array_equal(data.test.x.numpy(), np.moveaxis(x, (3, 2), (0, 1)))
        assert data.test.y.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0] * 2
        assert data.classes == tuple("0123456789")
        assert data.likelihood == "discretised-logistic"
        assert data.train.divisor == 255


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"X": np.zeros((32, 32, 20), np.uint8)}, r"bytes X \(32, 32, 3, N\)"),
        ({"X": np.zeros((32, 32, 3, 20)) + 0.5}, r"bytes X"),
        ({"y": np.arange(1, 4)}, "one label"),
        ({"y": np.full(20, 11)}, "one label from 1 to 10"),
        ({"y": np.full(20, 1.5)}, "one label from 1 to 10"),
    ],
)
def test_wrong_contents(tmp_path, cache, changes, words):
    write(tmp_path / "svhn", **changes)
    with pytest.raises(BadInput, match=words):
        load("svhn", data_dir=tmp_path)


def test_absent_and_cut(tmp_path, cache):
    with pytest.raises(BadInput, match=r"put train_32x32\.mat, test_32x32\.mat into"):
        load("svhn", data_dir=tmp_path)
    write(tmp_path / "svhn")
    path = tmp_path / "svhn" / "test_32x32.mat"
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(BadInput, match=r"damaged|ends"):
        load("svhn", data_dir=tmp_path)
