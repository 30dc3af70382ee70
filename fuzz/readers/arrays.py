"""IDX, MATLAB, smallNORB, .npy and .npz files."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.attempt import Reader
from fuzz.packing import in_gzip, in_mat, in_npy, in_zip, packed

__all__ = ["READERS"]


def put(folder: Path, name: str, data: bytes) -> Path:
    """The input as a file."""
    path = folder / name
    path.write_bytes(data)
    return path


def run_idx(data: bytes, folder: Path) -> Any:
    """The reader, and what `data check` says of such a file."""
    from uncollapse.data import checking, idx

    path = put(folder, "x-idx3-ubyte", data)
    return idx.read_idx(path, (None, 3, 1)[len(data) % 3]), checking.idx_report(path, ())


def seeds_idx() -> dict[str, bytes]:
    """Images and labels of every type, plain and gzipped."""
    out = {}
    for name, code, kind in (("u1", 8, "u1"), ("i2", 11, ">i2"), ("f4", 13, ">f4"), ("f8", 14, ">f8")):
        x = np.arange(2 * 3 * 4).reshape(2, 3, 4).astype(kind)
        out[name] = bytes([0, 0, code, 3]) + struct.pack(">3I", *x.shape) + x.tobytes()
    out["labels"] = bytes([0, 0, 8, 1]) + struct.pack(">I", 5) + bytes(range(5))
    out["huge"] = bytes([0, 0, 8, 2]) + struct.pack(">2I", 2**31, 2**31) + b"1234"
    return out | {f"{name}.gz": packed(data) for name, data in out.items()}


def run_mat(data: bytes, folder: Path) -> Any:
    """Files of the layouts of SVHN and of Omniglot, and any array in them."""
    from uncollapse.data import mat, omniglot, svhn
    from uncollapse.data.stored import Store

    path = put(folder, "x.mat", data)
    which = zlib.crc32(data) % 3
    if which == 0:
        return svhn.write(Store(), [path, path])
    if which == 1:
        return omniglot.write(Store(), path)
    return mat.read_mat(path, ("X", "y", "data", "testdata", "target", "testtarget", "alphabets"))


def seeds_mat() -> dict[str, bytes]:
    """Both layouts, compressed and not, and what a MATLAB file may hold besides."""
    from scipy.io import savemat

    chance, out = np.random.default_rng(0), {}
    digits = {"X": chance.integers(0, 9, (32, 32, 3, 2), np.uint8), "y": np.array([[1], [10]], np.uint8)}
    signs = {"data": np.zeros((784, 2)), "testdata": np.ones((784, 2)), "target": np.eye(2), "testtarget": np.eye(2)}
    words = {"alphabets": np.array(["Greek", "Latin"], dtype=object), "X": np.zeros((2, 2), np.float32)}
    odd = {"X": {"field": 1.0}, "y": np.array([1 + 2j]), "data": np.array(["text"])}
    for name, content in (("svhn", digits), ("omniglot", signs), ("words", words), ("odd", odd)):
        for squeeze in (True, False):
            if squeeze or name in {"words", "odd"}:
                buffer = io.BytesIO()
                savemat(buffer, content, do_compression=squeeze)
                raw = buffer.getvalue()
                out[f"{name}-{squeeze:d}"] = b"MATLAB 5.0 MAT-file".ljust(116) + raw[116:]  # no date in it
    return out


def run_norb(data: bytes, folder: Path) -> Any:
    """A matrix file as labels, and as images beside sound labels."""
    from uncollapse.data import norb
    from uncollapse.data.stored import Store

    given = put(folder, "given.mat", data)
    sound = put(folder, "sound.mat", matrix(np.array([0, 4], "<i4"), 0x1E3D4C54))
    images = given if len(data) % 2 else sound
    return norb.write(Store(), [images, given if images is sound else sound] * 2, "both", 4)


def matrix(x: np.ndarray, magic: int) -> bytes:
    """A file in NORB's format."""
    sides = [*x.shape, *[1] * (3 - x.ndim)]
    return struct.pack(f"<{2 + len(sides)}I", magic, x.ndim, *sides) + x.tobytes()


def seeds_norb() -> dict[str, bytes]:
    """Labels and images, plain and gzipped."""
    labels = matrix(np.array([0, 1, 2], "<i4"), 0x1E3D4C54)
    images = matrix(np.zeros((2, 2, 96, 96), np.uint8), 0x1E3D4C55)
    return {"labels": labels, "labels.gz": packed(labels), "images.gz": packed(images)}


def run_npy(data: bytes, folder: Path) -> Any:
    """A data set from a .npy file."""
    from uncollapse.data.arrays import read_file

    return read_file(put(folder, "x.npy", data), fractions=(0.4, 0.3, 0.3)).fingerprint


def run_npz(data: bytes, folder: Path) -> Any:
    """A data set from a .npz file."""
    from uncollapse.data.arrays import read_file

    return read_file(put(folder, "x.npz", data), fractions=(0.4, 0.3, 0.3)).fingerprint


def npy(x: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    """An array in NumPy's format."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, x, version, allow_pickle=True)
    return buffer.getvalue()


def seeds_npy() -> dict[str, bytes]:
    """Every kind of number, both memory orders, all versions, objects and records."""
    kinds = ("u1", "?", "<i2", ">i4", "<u2", "<u4", "<u8", "<i8", "<f2", "<f4", ">f8", "<c8")
    out = {f"kind-{kind.strip('<>?') or 'bool'}-{n}": npy(np.ones((8, 2), kind)) for n, kind in enumerate(kinds)}
    out["images"] = npy(np.zeros((8, 2, 3), np.uint8))
    out["fortran"] = npy(np.asfortranarray(np.arange(24.0).reshape(8, 3)))
    out["objects"] = npy(np.array([{}, 1], dtype=object))
    out["records"] = npy(np.zeros(8, [("a", "i4"), ("b", "f4")]))
    return out | {f"version-{v}": npy(np.zeros((8, 2), "f4"), (v, 0)) for v in (1, 2, 3)}


def seeds_npz() -> dict[str, bytes]:
    """With and without labels and parts, packed and not."""
    x, y, out = np.arange(16, dtype="f4").reshape(8, 2), np.arange(8) % 2, {}
    parts = {f"{kind}_{part}": (x if kind == "x" else y) for kind in "xy" for part in ("train", "valid", "test")}
    for name, content in (("x", {"x": x}), ("xy", {"x": x, "y": y}), ("parts", parts)):
        for save in (np.savez, np.savez_compressed):
            buffer = io.BytesIO()
            save(buffer, **content)
            out[f"{name}-{save.__name__}"] = buffer.getvalue()
    return out


READERS = (
    Reader("idx", run_idx, seeds_idx, in_gzip, 4096),
    Reader("mat", run_mat, seeds_mat, in_mat, 16384),
    Reader("norb", run_norb, seeds_norb, in_gzip, 4096),
    Reader("npy", run_npy, seeds_npy, in_npy, 2048),
    Reader("npz", run_npz, seeds_npz, in_zip, 8192),
)
