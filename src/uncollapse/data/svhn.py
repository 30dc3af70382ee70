"""Street View House Numbers, cropped digits, from the MATLAB files of its publishers."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from uncollapse.data.dataset import DataSet
from uncollapse.data.mapped import prepared
from uncollapse.data.mat import read_mat
from uncollapse.data.places import find_folder
from uncollapse.data.source import Source
from uncollapse.data.splits import held_out, no_ink
from uncollapse.data.stored import Store
from uncollapse.data.tensors import from_tensors
from uncollapse.errors import BadInput

__all__ = ["SOURCES", "svhn"]

NETZER = "Netzer et al., 2011, Reading Digits in Natural Images with Unsupervised Feature Learning"
LICENCE = "for non-commercial use only"
FILES = ("train_32x32.mat", "test_32x32.mat")
FOLDERS = ("svhn", "SVHN")
SHAPE = (3, 32, 32)
PIECE = 1024


def svhn(
    seed: int = 0,
    binarise: str = "none",
    data_dir: str | Path | None = None,
    valid: int | None = None,
    limit: int | None = None,
    likelihood: str = "discretised-logistic",
    scale: float = 1.0,
) -> DataSet:
    """Cropped colour digits of 32x32; the files' label 10 is the digit 0.

    Arguments:
        seed: of the split.
        binarise: only "none": colours are not shares of ink.
        data_dir: searched first.
        valid: training images held out, by class and seed; a tenth if None.
        limit: keep this many training images, chosen in the same way; all if None.
        likelihood: "discretised-logistic" or "gaussian".
        scale: standard deviation of the Gaussian likelihood.

    Raises:
        BadInput: when files are missing or damaged, or a number makes no sense.

    References:
        Netzer et al., 2011, http://ufldl.stanford.edu/housenumbers.
    """
    no_ink(binarise, likelihood)
    folder = find_folder(FOLDERS, SOURCES[0].files, data_dir)
    if folder is None:
        raise BadInput(SOURCES[0].missing(data_dir))
    paths = [folder / name for name in FILES]
    known = prepared("svhn", paths, {}, partial(write, paths=paths))
    x, y = known.arrays["train_x"], known.arrays["train_y"]
    train, kept = held_out(y, len(y) // 10 if valid is None else valid, limit, seed)
    return from_tensors(
        x[train],
        y[train],
        valid=(x[kept], y[kept]),
        test=(known.arrays["test_x"], known.arrays["test_y"]),
        name="svhn",
        likelihood=likelihood,
        scale=scale,
        divisor=255,
        classes=tuple("0123456789"),
        seed=seed,
        citation=NETZER,
        licence=LICENCE,
    )


def write(store: Store, paths: list[Path]) -> None:
    """Both files, one after the other."""
    for part, path in zip(("train", "test"), paths, strict=True):
        arrays = read_mat(path, ("X", "y"))
        x, y = arrays.get("X"), arrays.get("y")
        if x is None or y is None or x.dtype != np.uint8 or x.ndim != 4 or x.shape[:3] != (32, 32, 3):
            raise BadInput(f"{path} should hold bytes X (32, 32, 3, N) and labels y, got {sorted(arrays)}")
        if y.size != x.shape[3] or (y != np.rint(y)).any() or y.min(initial=1) < 0 or y.max(initial=1) > 10:
            raise BadInput(f"{path} should hold one label from 1 to 10 for each of {x.shape[3]} images, got {y.shape}")
        store.write(f"{part}_x", (x.shape[3], *SHAPE), np.uint8, upright(x))
        store.put(f"{part}_y", (y.ravel() % 10).astype(np.uint8))


def upright(x: np.ndarray) -> Iterator[np.ndarray]:
    """Pieces (n, 3, 32, 32) of an array (row, column, colour, N)."""
    for start in range(0, x.shape[3], PIECE):
        yield x[..., start : start + PIECE].transpose(3, 2, 0, 1)


SOURCES = (
    Source(
        name="svhn",
        what="colour photographs of house numbers, one digit in the middle",
        shape=SHAPE,
        size=(65_932, 7325, 26_032),
        load=svhn,
        folders=FOLDERS,
        files=tuple((name,) for name in FILES),
        by_hand="they are under Format 2 of http://ufldl.stanford.edu/housenumbers",
        citation=NETZER,
        licence=LICENCE,
    ),
)
