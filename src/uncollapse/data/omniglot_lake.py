"""Omniglot's original drawings, streamed out of their two archives."""

import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from uncollapse.data.dataset import DataSet
from uncollapse.data.idx import read_at_most
from uncollapse.data.images import View, show
from uncollapse.data.mapped import prepared
from uncollapse.data.places import find_folder
from uncollapse.data.source import Source
from uncollapse.data.splits import held_out
from uncollapse.data.stored import Store
from uncollapse.data.tensors import from_tensors
from uncollapse.errors import BadInput, said

__all__ = ["SOURCES", "omniglot_lake"]

LAKE = "Lake, Salakhutdinov, Tenenbaum, 2015, Human-level concept learning, Science 350, doi:10.1126/science.aab3050"
FOLDERS = ("omniglot", "omniglot-lake", "OMNIGLOT", "Omniglot", "omniglot-py")
ARCHIVES = ("images_background.zip", "images_evaluation.zip")
DRAWING = re.compile(r"(?:^|/)images_[a-z]+/([^/]+)/character\d+/\d+_\d+\.png$")
VIEW = View(size=28, channels=1, box=True, invert=True)
MOST_BYTES = 2**20  # a drawing takes less than a kilobyte
MOST_PIXELS = 2**20  # thousands of drawings of a small archive may not take minutes each
PIECE = 512


def omniglot_lake(
    seed: int = 0,
    binarise: str = "dynamic",
    data_dir: str | Path | None = None,
    valid: int | None = None,
    limit: int | None = None,
) -> DataSet:
    """Omniglot as published: 30 background alphabets for training, 20 other alphabets for testing.

    The drawings of 105x105 black and white pixels are reduced to 28x28 by averages; ink is 1. Labels are alphabets,
    so that no label of the test part occurs in training.

    Arguments:
        seed: of the split and the fixed draws.
        binarise: "dynamic", "fixed" or "none".
        data_dir: searched first.
        valid: background images held out for validation, by alphabet and seed; a tenth if None.
        limit: keep this many training images, chosen in the same way; all if None.

    Raises:
        BadInput: when an archive is missing or damaged, or a number makes no sense.

    References:
        Lake, Salakhutdinov, Tenenbaum, 2015, https://doi.org/10.1126/science.aab3050.
    """
    folder = find_folder(FOLDERS, SOURCES[0].files, data_dir)
    if folder is None:
        raise BadInput(SOURCES[0].missing(data_dir))
    paths = [folder / name for name in ARCHIVES]
    known = prepared("omniglot-lake", paths, {"size": VIEW.size}, partial(write, paths=paths))
    x, y, test = known.arrays["x"], known.arrays["y"], known.facts["train"]
    train, kept = held_out(y[:test], test // 10 if valid is None else valid, limit, seed)
    return from_tensors(
        x[train],
        y[train],
        valid=(x[kept], y[kept]),
        test=(x[test:], y[test:]),
        name="omniglot-lake",
        likelihood="bernoulli",
        divisor=255,
        binarise=binarise,
        classes=known.facts["alphabets"],
        seed=seed,
        citation=LAKE,
        licence="MIT",
    )


def write(store: Store, paths: list[Path]) -> None:
    """All drawings, those of the first archive first, with the numbers of their alphabets."""
    drawings = [(path, info) for path in paths for info in members(path)]
    found = [[alphabet(info) for of, info in drawings if of == path] for path in paths]
    names = list(dict.fromkeys(name for part in found for name in sorted(set(part))))
    shape = (len(drawings), 1, VIEW.size or 0, VIEW.size or 0)
    store.write("x", shape, np.uint8, (piece for path in paths for piece in pieces(path)))
    place = {name: number for number, name in enumerate(names)}
    store.put("y", np.array([place[name] for part in found for name in part], np.int16))
    store.facts.update(train=len(found[0]), alphabets=names)


def members(path: Path) -> list[zipfile.ZipInfo]:
    """The drawings of an archive, in the order of their names."""
    try:
        with zipfile.ZipFile(path) as archive:
            found = [info for info in archive.infolist() if DRAWING.search(info.filename)]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise BadInput(f"{path} is not a readable zip file: {said(error)}") from error
    if len(found) < 2:
        raise BadInput(f"{path} should hold drawings images_.../<alphabet>/character<nn>/<name>.png, got {len(found)}")
    return sorted(found, key=lambda info: info.filename)


def alphabet(info: zipfile.ZipInfo) -> str:
    """The alphabet, by the name of its folder."""
    match = DRAWING.search(info.filename)
    return match[1] if match else ""


def pieces(path: Path) -> Iterator[np.ndarray]:
    """Bytes (n, 1, 28, 28), ink bright, a few hundred drawings at a time."""
    listed = members(path)
    with zipfile.ZipFile(path) as archive:
        for start in range(0, len(listed), PIECE):
            yield np.stack([drawing(archive, info, path) for info in listed[start : start + PIECE]])


def drawing(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> np.ndarray:
    """One drawing: 255 is ink."""
    what = f"{info.filename!r} in {path}"
    try:
        with archive.open(info) as file:
            data = read_at_most(file, MOST_BYTES + 1)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError) as error:
        raise BadInput(f"{what} is damaged: {said(error)}") from error
    if len(data) > MOST_BYTES:
        raise BadInput(f"{what} is larger than {MOST_BYTES} bytes, too large for a drawing")
    return show(io.BytesIO(data), what, VIEW, MOST_PIXELS)


SOURCES = (
    Source(
        name="omniglot-lake",
        what="handwritten characters as published: 30 alphabets for training, 20 others for testing, at 28x28",
        shape=(1, 28, 28),
        size=(17_352, 1928, 13_180),
        load=omniglot_lake,
        folders=FOLDERS,
        files=tuple((name,) for name in ARCHIVES),
        by_hand="they are python/images_background.zip and images_evaluation.zip of https://github.com/brendenlake/omniglot",
        citation=LAKE,
        licence="MIT",
    ),
)
