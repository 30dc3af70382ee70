"""Omniglot at 28x28: Burda's file, files of the same layout, and the original drawings."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from uncollapse.data.dataset import DataSet
from uncollapse.data.mapped import prepared
from uncollapse.data.mat import read_mat
from uncollapse.data.places import find_folder
from uncollapse.data.source import Source
from uncollapse.data.splits import held_out
from uncollapse.data.stored import Store
from uncollapse.data.tensors import from_tensors
from uncollapse.errors import BadInput

__all__ = ["SOURCES", "Columns"]

LAKE = "Lake, Salakhutdinov, Tenenbaum, 2015, Human-level concept learning, Science 350, doi:10.1126/science.aab3050"
BURDA = f"Burda, Grosse, Salakhutdinov, 2016, https://arxiv.org/abs/1509.00519; {LAKE}"
FOLDERS = ("omniglot", "OMNIGLOT", "Omniglot")
KEYS = ("data", "testdata", "target", "testtarget", "alphabets")
DERIVED = "sizes of Burda's file, but another resizing and another split: likelihoods are not those of published tables"


@dataclass(frozen=True)
class Columns:
    """A file in the layout of Burda et al.: 24,345 and 8,070 grey images of 28x28, labels are alphabets.

    Arguments:
        name: of the data set.
        file: its name.
    """

    name: str
    file: str

    def load(
        self,
        seed: int = 0,
        binarise: str = "dynamic",
        data_dir: str | Path | None = None,
        valid: int = 2000,
        limit: int | None = None,
    ) -> DataSet:
        """The data set; `valid` training images, chosen by alphabet and seed, are held out for validation.

        A file that holds the names of the alphabets besides has this layout and not Burda's pixels: it is called
        `omniglot-derived`, whatever its file name.

        Arguments:
            seed: of the split and the fixed draws.
            binarise: "dynamic", "fixed" or "none".
            data_dir: searched first.
            valid: images held out: 2,000 in He et al. and Kim et al., 1,345 in Burda et al.
            limit: keep this many training images, chosen in the same way; all if None.

        Raises:
            BadInput: when the file is missing, damaged or of another layout, or a number makes no sense.
        """
        folder = find_folder(FOLDERS, [(self.file,)], data_dir)
        if folder is None:
            raise BadInput(next(one for one in SOURCES if one.name == self.name).missing(data_dir))
        path = folder / self.file
        known = prepared("omniglot", [path], {}, partial(write, path=path))
        x, y, classes = known.arrays["x"], known.arrays["y"], known.facts["alphabets"]
        derived = bool(classes)
        train, kept = held_out(y, valid, limit, seed)
        return from_tensors(
            x[train],
            y[train],
            valid=(x[kept], y[kept]),
            test=(known.arrays["test_x"], known.arrays["test_y"]),
            name="omniglot-derived" if derived else self.name,
            likelihood="bernoulli",
            divisor=255 if x.dtype == np.uint8 else 1,
            binarise=binarise,
            classes=classes or [f"alphabet {number + 1}" for number in range(known.facts["count"])],
            seed=seed,
            citation=BURDA,
            licence="MIT",
            note=DERIVED if derived else "",
        )


def write(store: Store, path: Path) -> None:
    """Both parts, upright."""
    arrays = read_mat(path, KEYS[:4], KEYS[4:])
    absent = [key for key in KEYS[:4] if key not in arrays]
    if absent:
        raise BadInput(f"{path} should hold {', '.join(KEYS[:4])}, but {', '.join(absent)} is missing")
    images = [upright(arrays[key], path) for key in KEYS[:2]]
    if images[0].dtype != images[1].dtype:
        raise BadInput(f"{path} should hold values k/255 in both parts or in none")
    for prefix, x, labels in zip(("", "test_"), images, KEYS[2:4], strict=True):
        store.put(f"{prefix}x", x)
        store.put(f"{prefix}y", one_hot(arrays[labels], len(x), path))
    store.facts["count"] = len(arrays["target"])
    store.facts["alphabets"] = [str(name) for name in arrays["alphabets"]] if "alphabets" in arrays else []


def upright(columns: np.ndarray, path: Path) -> np.ndarray:
    """Images (N, 1, 28, 28) from columns (784, N), each in MATLAB's order; bytes where the values are k/255."""
    if columns.ndim != 2 or len(columns) != 28 * 28:
        raise BadInput(f"{path} should hold images as columns of 784 numbers, got an array {columns.shape}")
    rows = columns.T
    if not (rows.min(initial=0) >= 0 and rows.max(initial=0) <= 1):  # also refuses NaN
        raise BadInput(f"{path} should hold values from 0 to 1, got {rows.min():g} to {rows.max():g}")
    stored = np.empty(rows.shape, np.uint8)
    for start in range(0, len(rows), 1024):
        ink = rows[start : start + 1024] * 255.0
        stored[start : start + 1024] = np.rint(ink)
        if np.abs(ink - stored[start : start + 1024]).max(initial=0) > 1e-3:
            stored = rows.astype(np.float32)
            break
    return stored.reshape(-1, 1, 28, 28).transpose(0, 1, 3, 2)


def one_hot(target: np.ndarray, n: int, path: Path) -> np.ndarray:
    """Labels from columns (classes, N) with a single one."""
    if target.ndim != 2 or target.shape[1] != n or (target.astype(bool) != target).any() or (target.sum(0) != 1).any():
        raise BadInput(f"{path} should hold one column with a single 1 for each of {n} images, got {target.shape}")
    labels: np.ndarray = target.argmax(0).astype(np.int16)
    return labels


def described(form: Columns, what: str, by_hand: str) -> Source:
    """The line in the catalogue of one of the files."""
    return Source(
        name=form.name,
        what=what,
        shape=(1, 28, 28),
        size=(22_345, 2000, 8070),
        load=form.load,
        folders=FOLDERS,
        files=((form.file,),),
        by_hand=by_hand,
        citation=BURDA,
        licence="MIT",
    )


SOURCES = (
    described(
        Columns("omniglot", "chardata.mat"),
        "handwritten characters of 50 alphabets, Burda's resizing and split",
        "it is datasets/OMNIGLOT/chardata.mat of https://github.com/yburda/iwae",
    ),
    described(
        Columns("omniglot-derived", "chardata_derived.mat"),
        "handwritten characters of 50 alphabets in the layout of Burda's file, resized and split anew",
        "it was made from the original drawings; with those, take omniglot-lake",
    ),
)
