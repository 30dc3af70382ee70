"""CIFAR-10 from the pickles of its publishers, as many of the five training batches as are there."""

from functools import partial
from pathlib import Path

import numpy as np

from uncollapse.data.dataset import DataSet
from uncollapse.data.mapped import prepared
from uncollapse.data.pickles import read_pickle
from uncollapse.data.places import find_folder
from uncollapse.data.source import Source
from uncollapse.data.splits import held_out, no_ink
from uncollapse.data.stored import Store
from uncollapse.data.tensors import from_tensors
from uncollapse.errors import BadInput

__all__ = ["SOURCES", "cifar10"]

KRIZHEVSKY = "Krizhevsky, 2009, Learning Multiple Layers of Features from Tiny Images, University of Toronto"
LICENCE = "not stated with the files"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
FOLDERS = ("cifar10/cifar-10-batches-py", "cifar-10-batches-py", "cifar10", "CIFAR10/cifar-10-batches-py", "cifar-10")
SHAPE = (3, 32, 32)


def cifar10(
    seed: int = 0,
    binarise: str = "none",
    data_dir: str | Path | None = None,
    valid: int | None = None,
    limit: int | None = None,
    likelihood: str = "discretised-logistic",
    scale: float = 1.0,
) -> DataSet:
    """CIFAR-10: colour photographs of 32x32, ten classes.

    It is named `cifar10` when all five training batches are there, else by their number, such as `cifar10-1of5`.

    Arguments:
        seed: of the split.
        binarise: only "none": colours are not shares of ink.
        data_dir: searched first.
        valid: images held out of the training batches, by class and seed; a tenth of them if None.
        limit: keep this many training images, chosen in the same way; all if None.
        likelihood: "discretised-logistic" or "gaussian".
        scale: standard deviation of the Gaussian likelihood.

    Raises:
        BadInput: when files are missing or damaged, or a number makes no sense.

    References:
        Krizhevsky, 2009, Learning Multiple Layers of Features from Tiny Images.
    """
    no_ink(binarise, likelihood)
    folder = find_folder(FOLDERS, SOURCES[0].files, data_dir)
    if folder is None:
        raise BadInput(SOURCES[0].missing(data_dir))
    paths = [folder / name for name in (*BATCHES, "test_batch", "batches.meta") if (folder / name).is_file()]
    batches = [path for path in paths if path.name in BATCHES]
    known = prepared("cifar10", paths, {}, partial(write, folder=folder, batches=batches))
    x, y, count = known.arrays["x"], known.arrays["y"], known.facts["train"]
    train, kept = held_out(y[:count], count // 10 if valid is None else valid, limit, seed)
    return from_tensors(
        x[train],
        y[train],
        valid=(x[kept], y[kept]),
        test=(x[count:], y[count:]),
        name="cifar10" if len(batches) == len(BATCHES) else f"cifar10-{len(batches)}of{len(BATCHES)}",
        likelihood=likelihood,
        scale=scale,
        divisor=255,
        classes=known.facts["classes"],
        seed=seed,
        citation=KRIZHEVSKY,
        licence=LICENCE,
        note="" if len(batches) == len(BATCHES) else f"only {', '.join(path.name for path in batches)} of five",
    )


def write(store: Store, folder: Path, batches: list[Path]) -> None:
    """All images, the training batches first, and their labels."""
    read = [read_batch(path) for path in (*batches, folder / "test_batch")]
    count = sum(len(y) for _, y in read)
    store.write("x", (count, *SHAPE), np.uint8, (x for x, _ in read))
    store.put("y", np.concatenate([y for _, y in read]))
    store.facts["train"] = count - len(read[-1][1])
    store.facts["classes"] = class_names(folder / "batches.meta")


def read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 3, 32, 32) and labels (N,) of one file."""
    content = read_pickle(path)
    x, given = content.get("data"), content.get("labels")
    if not isinstance(x, np.ndarray) or x.dtype != np.uint8 or x.ndim != 2 or x.shape[1] != 3 * 32 * 32:
        raise BadInput(f"{path} should hold rows of 3,072 bytes under 'data', got {getattr(x, 'shape', None)}")
    if not isinstance(given, list) or not all(type(label) is int and 0 <= label < len(CLASSES) for label in given):
        raise BadInput(f"{path} should hold a list of whole numbers from 0 to 9 under 'labels'")
    if len(given) != len(x):
        raise BadInput(f"{path} holds {len(x)} images, but {len(given)} labels")
    return x.reshape(-1, *SHAPE), np.array(given, np.uint8)


def class_names(path: Path) -> list[str]:
    """Names of the labels, from their file if it is there."""
    if not path.is_file():
        return list(CLASSES)
    names = read_pickle(path).get("label_names")
    if not isinstance(names, list) or len(names) != len(CLASSES) or not all(isinstance(name, str) for name in names):
        raise BadInput(f"{path} should hold ten names under 'label_names'")
    return names


SOURCES = (
    Source(
        name="cifar10",
        what="colour photographs of ten classes; named by the training batches that are there, such as cifar10-1of5",
        shape=SHAPE,
        size=(45_000, 5000, 10_000),
        load=cifar10,
        folders=FOLDERS,
        files=(BATCHES, ("test_batch",)),
        by_hand="unpack cifar-10-python.tar.gz of https://www.cs.toronto.edu/~kriz/cifar.html",
        citation=KRIZHEVSKY,
        licence=LICENCE,
    ),
)
