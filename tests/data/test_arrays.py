"""Data sets from .npy and .npz files."""

import io
import zipfile

import numpy as np
import pytest
import torch

from uncollapse.data import load
from uncollapse.data.arrays import read_arrays
from uncollapse.errors import BadInput, ShapeError

RNG = np.random.default_rng(0)


def test_npy_and_npz(tmp_path):
    x, y = RNG.integers(0, 256, (40, 6, 5)).astype(np.uint8), np.arange(40) % 4
    np.save(tmp_path / "a.npy", x)
    np.savez(tmp_path / "b.npz", x=x, y=y)
    np.savez_compressed(tmp_path / "c.npz", x=x, y=y)
    first, second, third = (load(tmp_path / name) for name in ("a.npy", "b.npz", "c.npz"))
    assert repr(first) == "DataSet('a', (1, 6, 5), train/valid/test 32/4/4, bernoulli)"
    assert second.fingerprint == third.fingerprint
    assert first.train.y is None
    assert second.train.y.bincount().tolist() == [8, 8, 8, 8]
    assert first.train.binarise == "none"
    assert load(str(tmp_path / "a.npy"), binarise="dynamic").test.binarise == "fixed"
    assert load(tmp_path / "a.npy", likelihood="gaussian", scale=0.3).likelihood_setting == {"gaussian": 0.3}


def test_parts_in_one_file(tmp_path):
    x = RNG.standard_normal((40, 7))
    np.savez(tmp_path / "p.npz", x_train=x[:20], y_train=np.zeros(20, int), x_valid=x[20:30], x_test=x[30:])
    data = load(tmp_path / "p.npz")
    assert [len(part) for part in data.parts.values()] == [20, 10, 10]
    torch.testing.assert_close(data.test.tensor(), torch.from_numpy(x[30:]).float())
    assert data.likelihood == "gaussian"


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["f4", ">f8", "i2", "?", "u1", "f2"])
def test_arrays_equal_numpys_own_reading(tmp_path, order, kind):
    x = np.asarray(RNG.integers(0, 2, (6, 3, 4)), dtype=kind, order=order)
    np.savez_compressed(tmp_path / "a.npz", x=x, other=x[0])
    np.save(tmp_path / "a.npy", x)
    for name in ("a.npz", "a.npy"):
        out = read_arrays(tmp_path / name)["x"]
        assert out.dtype == x.dtype
        assert np.array_equal(out, x)


def test_objects_are_never_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    np.save(tmp_path / "a.npy", np.array([[Trap()], [Trap()]], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", x=np.array([[1, None]], dtype=object))
    for name in ("a.npy", "a.npz"):
        with pytest.raises(BadInput, match=r"plain numbers.*never unpickled"):
            load(tmp_path / name)


@pytest.mark.parametrize("kind", ["U3", "c8", "M8[s]", [("a", "f4")]])
def test_only_plain_numbers(tmp_path, kind):
    np.save(tmp_path / "a.npy", np.zeros((4, 2), kind))
    with pytest.raises(BadInput, match=r"plain numbers|structured"):
        load(tmp_path / "a.npy")


def header(shape, kind="<f8"):
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": kind, "fortran_order": False, "shape": shape})
    return out.getvalue()


def test_headers_are_not_trusted(tmp_path):
    lie = header((10**6, 10**6)) + bytes(64)
    (tmp_path / "a.npy").write_bytes(lie)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", lie)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(BadInput, match="bytes, but has only"):
            load(tmp_path / name)


def test_a_bomb_is_refused_by_its_directory(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.zeros((1000, 1000)))
    with pytest.raises(BadInput, match="announces"):
        read_arrays(path, max_bytes=10**6)
    assert read_arrays(path)["x"].shape == (1000, 1000)


def test_damage(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=RNG.random((50, 5)))
    whole = path.read_bytes()
    for data in (b"", b"not a zip", whole[:100], whole[:80] + bytes(60) + whole[140:]):
        path.write_bytes(data)
        with pytest.raises(BadInput):
            load(path)
    plain = tmp_path / "a.npy"
    np.save(plain, RNG.random((50, 5)))
    whole = plain.read_bytes()
    for data in (b"", b"nonsense", whole[:40], whole[:-8]):
        plain.write_bytes(data)
        with pytest.raises(BadInput):
            load(plain)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({}, "should hold x.*got nothing"),
        ({"images": np.zeros((4, 2))}, "should hold x.*got images"),
        ({"x": np.zeros((4, 2)), "x_train": np.zeros((4, 2))}, "both x and x_train"),
        ({"x_train": np.zeros((4, 2)), "x_test": np.zeros((4, 2))}, "valid="),
    ],
)
def test_keys(tmp_path, arrays, words):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(BadInput, match=words):
        load(tmp_path / "a.npz")


def test_content_is_checked_as_for_tensors(tmp_path):
    np.save(tmp_path / "a.npy", np.full((40, 2), np.nan))
    with pytest.raises(BadInput, match="finite"):
        load(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.zeros(40))
    with pytest.raises(ShapeError):
        load(tmp_path / "a.npy")
    with pytest.raises(BadInput, match="there is no file"):
        load(tmp_path / "b.npy")
    with pytest.raises(BadInput, match="mean 'divisor'"):
        load(tmp_path / "a.npy", diviser=3)
