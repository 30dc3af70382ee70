"""Small NORB: toys photographed by two cameras, in the binary matrix format of its publishers."""

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, cast

import numpy as np

from uncollapse.data.dataset import DataSet
from uncollapse.data.idx import read_at_most
from uncollapse.data.images import resized
from uncollapse.data.mapped import prepared
from uncollapse.data.places import find_file, find_folder
from uncollapse.data.source import Source
from uncollapse.data.splits import held_out, no_ink
from uncollapse.data.stored import Store
from uncollapse.data.tensors import from_tensors
from uncollapse.errors import BadInput, said
from uncollapse.limits import advice, regular, room

__all__ = ["SOURCES", "smallnorb"]

LECUN = (
    "LeCun, Huang, Bottou, 2004, Learning Methods for Generic Object Recognition with Invariance to Pose and Lighting"
)
LICENCE = "for research use only"
STEMS = ("smallnorb-5x46789x9x18x6x2x96x96-training-", "smallnorb-5x01235x9x18x6x2x96x96-testing-")
FILES = tuple((f"{stem}{kind}.mat.gz", f"{stem}{kind}.mat") for stem in STEMS for kind in ("dat", "cat"))
FOLDERS = ("smallnorb", "smallNORB", "norb", "NORB")
CLASSES = ("animal", "human", "airplane", "truck", "car")
TYPES = {0x1E3D4C55: "u1", 0x1E3D4C54: "<i4", 0x1E3D4C56: "<i2", 0x1E3D4C51: "<f4", 0x1E3D4C53: "<f8"}
SIDE = 96
CAMERAS = {"left": slice(0, 1), "right": slice(1, 2), "both": slice(0, 2)}
PIECE = 256


def smallnorb(
    seed: int = 0,
    binarise: str = "none",
    data_dir: str | Path | None = None,
    camera: str = "left",
    size: int = SIDE,
    valid: int | None = None,
    limit: int | None = None,
    likelihood: str = "discretised-logistic",
    scale: float = 1.0,
) -> DataSet:
    """24,300 pairs of grey 96x96 photographs for training, as many of other toys for testing; five classes.

    Arguments:
        seed: of the split.
        binarise: only "none": shades are not shares of ink.
        data_dir: searched first.
        camera: "left", "right" or "both", which gives images of two channels.
        size: side in pixels, by averages.
        valid: training images held out, by class and seed; a tenth if None.
        limit: keep this many training images, chosen in the same way; all if None.
        likelihood: "discretised-logistic" or "gaussian".
        scale: standard deviation of the Gaussian likelihood.

    Raises:
        BadInput: when files are missing or damaged, or an option makes no sense.

    References:
        LeCun, Huang, Bottou, 2004, https://cs.nyu.edu/~ylclab/data/norb-v1.0-small.
    """
    no_ink(binarise, likelihood)
    if camera not in CAMERAS:
        raise BadInput(f"camera should be left, right or both, got {camera!r}")
    if not isinstance(size, int) or not 1 <= size <= SIDE:
        raise BadInput(f"size should be a whole number of pixels from 1 to {SIDE}, got {size!r}")
    folder = find_folder(FOLDERS, FILES, data_dir)
    if folder is None:
        raise BadInput(SOURCES[0].missing(data_dir))
    paths = [find_file(folder, names) or folder for names in FILES]
    made = partial(write, paths=paths, camera=camera, size=size)
    known = prepared("smallnorb", paths, {"camera": camera, "size": size}, made)
    x, y = known.arrays["train_x"], known.arrays["train_y"]
    train, kept = held_out(y, len(y) // 10 if valid is None else valid, limit, seed)
    return from_tensors(
        x[train],
        y[train],
        valid=(x[kept], y[kept]),
        test=(known.arrays["test_x"], known.arrays["test_y"]),
        name="smallnorb",
        likelihood=likelihood,
        scale=scale,
        divisor=255,
        classes=CLASSES,
        seed=seed,
        citation=LECUN,
        licence=LICENCE,
    )


def write(store: Store, paths: list[Path], camera: str, size: int) -> None:
    """Both parts, streamed."""
    for part, images, labels in zip(("train", "test"), paths[::2], paths[1::2], strict=True):
        with matrix(labels) as (shape, kind, file):
            if math.prod(shape) * kind.itemsize > (allowed := room(labels.stat().st_size)):
                raise BadInput(f"{labels} announces an array {shape}, {advice(allowed)}")
            y = np.frombuffer(exactly(file, math.prod(shape) * kind.itemsize, labels), kind)
        if len(shape) != 1 or not np.isin(y, range(len(CLASSES))).all():
            raise BadInput(f"{labels} should hold a list of labels from 0 to 4, got an array {shape}")
        with matrix(images) as (shape, kind, file):
            if shape != (len(y), 2, SIDE, SIDE) or kind != np.uint8:
                raise BadInput(f"{images} should hold bytes ({len(y)}, 2, 96, 96), got {kind} {shape}")
            channels = 2 if camera == "both" else 1
            pieces = seen(file, images, len(y), camera, size)
            store.write(f"{part}_x", (len(y), channels, size, size), np.uint8, pieces)
        store.put(f"{part}_y", y.astype(np.uint8))


def seen(file: IO[bytes], path: Path, n: int, camera: str, size: int) -> Iterator[np.ndarray]:
    """Pieces (n, channels, size, size) of one camera or both."""
    for start in range(0, n, PIECE):
        count = min(PIECE, n - start)
        pairs = np.frombuffer(exactly(file, count * 2 * SIDE * SIDE, path), np.uint8)
        chosen = pairs.reshape(count, 2, SIDE, SIDE)[:, CAMERAS[camera]]
        yield resized(chosen.reshape(-1, SIDE, SIDE), size).reshape(count, -1, size, size)


@contextmanager
def matrix(path: Path) -> Iterator[tuple[tuple[int, ...], "np.dtype[np.generic]", IO[bytes]]]:
    """Shape and type of a matrix file, and the file at its first number; nothing is allocated by the header."""
    try:
        with regular(path).open("rb") as probe:
            zipped = probe.read(2) == b"\x1f\x8b"
        with cast("IO[bytes]", gzip.open(path) if zipped else path.open("rb")) as file:
            magic, rank = (int(word) for word in np.frombuffer(exactly(file, 8, path), "<u4"))
            if magic not in TYPES or not 1 <= rank <= 8:
                raise BadInput(f"{path} is not a NORB matrix file: it starts with {magic:#x} and {rank} dimensions")
            sides = np.frombuffer(exactly(file, 4 * max(rank, 3), path), "<u4")  # three at least, whatever the rank
            yield tuple(int(side) for side in sides[:rank]), np.dtype(TYPES[magic]), file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadInput(f"{path} is a damaged gzip file ({said(error)}); fetch it again") from error
    except OSError as error:
        raise BadInput(f"cannot read {path}: {said(error)}") from error


def exactly(file: IO[bytes], count: int, path: Path) -> bytearray:
    """That many bytes."""
    data = read_at_most(file, count)
    if len(data) != count:
        raise BadInput(f"{path} ends too early: expected {count} more bytes, got {len(data)}; fetch it again")
    return data


SOURCES = (
    Source(
        name="smallnorb",
        what="grey photographs of toys: animals, humans, airplanes, trucks, cars; other toys for testing",
        shape=(1, SIDE, SIDE),
        size=(21_870, 2430, 24_300),
        load=smallnorb,
        folders=FOLDERS,
        files=FILES,
        by_hand="they are at https://cs.nyu.edu/~ylclab/data/norb-v1.0-small",
        citation=LECUN,
        licence=LICENCE,
    ),
)
