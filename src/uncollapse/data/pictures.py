"""Image folders: any folder of pictures, CelebA and FFHQ; never all in memory."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from uncollapse.data.dataset import DataSet
from uncollapse.data.folders import Album, by_number, by_partition, pictures_in, sorted_out
from uncollapse.data.images import View, show
from uncollapse.data.mapped import prepared
from uncollapse.data.places import find_file
from uncollapse.data.source import Source
from uncollapse.data.splits import no_ink
from uncollapse.data.stored import Store
from uncollapse.data.tensors import FRACTIONS
from uncollapse.errors import BadInput

__all__ = ["SOURCES", "celeba", "ffhq", "read_folder"]

LIU = "Liu, Luo, Wang, Tang, 2015, Deep Learning Face Attributes in the Wild, https://arxiv.org/abs/1411.7766"
KARRAS = "Karras, Laine, Aila, 2019, A Style-Based Generator Architecture for GANs, https://arxiv.org/abs/1812.04948"
RESEARCH = "for non-commercial research only; copies may not be passed on"
LISTS = ("list_eval_partition.txt", "list_eval_partition.csv", "Eval/list_eval_partition.txt")
FIRST_CELEB = ("img_align_celeba/000001.jpg", "img_align_celeba/img_align_celeba/000001.jpg")
FIRST_FACE = tuple(
    f"{where}{first}" for where in ("thumbnails128x128/", "") for first in ("00000/00000.png", "00000.png")
)
CELEBS, FACES = 202_599, 70_000
SPLIT = (55_000, 60_000)
PIECE, PIECE_BYTES = 256, 64 * 2**20  #: pictures that are held at the same time, at most


def read_folder(
    path: str | Path,
    seed: int = 0,
    binarise: str = "none",
    size: int | None = None,
    crop: int | None = None,
    channels: int | None = None,
    likelihood: str | None = None,
    scale: float = 1.0,
    fractions: Sequence[float] = FRACTIONS,
    split: int = 0,
) -> DataSet:
    """A data set from a folder of pictures, with or without a folder for each class.

    Folders named train, valid (or val) and test are the parts; otherwise the pictures are divided by `split` and
    not by the seed, because a prepared copy of every division is kept on disk.

    Arguments:
        path: the folder.
        seed: of the fixed draws.
        binarise: "dynamic" or "fixed" for grey pictures of ink on black, else "none".
        size: side in pixels after resizing; needed where the pictures differ in size.
        crop: side of the square cut out of the middle before that; the largest that fits if None.
        channels: 1 grey, 3 colour; as the first picture if None.
        likelihood: if None, Bernoulli where something is binarised, else discretised logistic.
        scale: standard deviation of the Gaussian likelihood.
        fractions: of training, validation and test.
        split: seed of the division.

    Raises:
        BadInput: when there are no pictures, one is damaged or of another size, or an option makes no sense.
    """
    if (likelihood or "discretised-logistic") != "bernoulli" and binarise == "none":
        no_ink(binarise, likelihood or "discretised-logistic")
    folder = Path(path)
    if len(fractions) != 3:
        raise BadInput(f"fractions should be of training, validation and test, got {tuple(fractions)}")
    view = checked(View(size, crop, channels))
    album = sorted_out(folder, tuple(fractions), split)
    made = assembled(folder.resolve().name or "pictures", album, view, seed)
    kind = likelihood or ("discretised-logistic" if binarise == "none" else "bernoulli")
    data = DataSet(**made, likelihood=kind, scale=scale)
    return data if binarise == "none" else data.binarised(binarise)


def checked(view: View) -> View:
    """Refuse numbers that make no sense."""
    for name, side in (("size", view.size), ("crop", view.crop)):
        if side is not None and (isinstance(side, bool) or not isinstance(side, int) or not 1 <= side <= 4096):
            raise BadInput(f"{name} should be a whole number of pixels up to 4096, got {side!r}")
    if view.channels not in {None, 1, 3}:
        raise BadInput(f"channels should be 1 (grey) or 3 (colour), got {view.channels!r}")
    return view


def assembled(name: str, album: Album, view: View, seed: int) -> dict[str, Any]:
    """Name, parts and classes of the pictures, by way of the prepared copy."""
    options = {"view": asdict(view), "sizes": [len(paths) for paths in album.paths.values()]}
    known = prepared(slug(name), album.everything, options, partial(write, album=album, view=view))
    parts = {
        part: known.part(f"{part}_x", f"{part}_y", divisor=255, seed=3 * seed + place)
        for place, part in enumerate(album.paths)
    }
    return {"name": name, "classes": album.classes, **parts}


def slug(name: str) -> str:
    """A name that any file system takes."""
    return "".join(sign if (sign.isascii() and sign.isalnum()) or sign in "-_" else "-" for sign in name)[:60]


def write(store: Store, album: Album, view: View) -> None:
    """All parts, some pictures at a time."""
    first = show(album.paths["train"][0], f"{album.paths['train'][0]}", view)
    same = View(view.size, view.crop, len(first), view.box)
    for part, paths in album.paths.items():
        if len(paths) < 2:
            raise BadInput(f"each part needs two pictures, but {part} has {len(paths)}")
        store.write(f"{part}_x", (len(paths), *first.shape), np.uint8, pieces(paths, same, first.shape))
        if part in album.labels:
            store.put(f"{part}_y", album.labels[part].astype(np.int32))


def pieces(paths: list[Path], view: View, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Bytes (n, C, H, W)."""
    count = max(1, min(PIECE, PIECE_BYTES // math.prod(shape)))
    for start in range(0, len(paths), count):
        images = []
        for path in paths[start : start + count]:
            images.append(show(path, f"{path}", view))
            if images[-1].shape != shape:
                raise BadInput(
                    f"{path} gives {images[-1].shape}, but the first picture {shape}; set size=64, for example"
                )
        yield np.stack(images)


def celeba(
    seed: int = 0,
    binarise: str = "none",
    data_dir: str | Path | None = None,
    crop: int = 148,
    size: int = 64,
    likelihood: str = "discretised-logistic",
    scale: float = 1.0,
) -> DataSet:
    """CelebA, aligned faces: the square of 148 pixels in the middle, resized to 64x64; the published division.

    Where the list names another number of pictures than the published 202,599, the name says so.

    Arguments:
        seed: not used; the division is the published one.
        binarise: only "none".
        data_dir: searched first.
        crop, size: in pixels.
        likelihood: "discretised-logistic" or "gaussian".
        scale: standard deviation of the Gaussian likelihood.

    Raises:
        BadInput: when pictures or the list are missing or damaged.

    References:
        Liu, Luo, Wang, Tang, 2015, https://arxiv.org/abs/1411.7766.
    """
    no_ink(binarise, likelihood)
    folder = SOURCES[0].find(data_dir)
    if folder is None:
        raise BadInput(SOURCES[0].missing(data_dir))
    listing = find_file(folder, LISTS) or folder
    pictures = folder / "img_align_celeba"
    nested = pictures / "img_align_celeba"
    album = by_partition(nested if nested.is_dir() else pictures, listing)
    count = len(album.everything)
    name = "celeba" if count == CELEBS else f"celeba-{count}of{CELEBS}"
    made = assembled(name, album, checked(View(size, crop, 3)), seed)
    return DataSet(**made, likelihood=likelihood, scale=scale, citation=LIU, licence=RESEARCH)


def ffhq(
    seed: int = 0,
    binarise: str = "none",
    data_dir: str | Path | None = None,
    size: int = 64,
    likelihood: str = "discretised-logistic",
    scale: float = 1.0,
) -> DataSet:
    """FFHQ thumbnails of 128x128, resized to 64x64: the first 60,000 for training, of which 5,000 for validation.

    The last 10,000, which the publishers call the validation part, are the test part. Where not all 70,000 are
    there, the name says so.

    Arguments:
        seed: not used; the division goes by the numbers of the pictures.
        binarise: only "none".
        data_dir: searched first.
        size: in pixels.
        likelihood: "discretised-logistic" or "gaussian".
        scale: standard deviation of the Gaussian likelihood.

    Raises:
        BadInput: when pictures are missing or damaged.

    References:
        Karras, Laine, Aila, 2019, https://arxiv.org/abs/1812.04948.
    """
    no_ink(binarise, likelihood)
    folder = SOURCES[1].find(data_dir)
    if folder is None:
        raise BadInput(SOURCES[1].missing(data_dir))
    thumbnails = folder / "thumbnails128x128"
    album = by_number(pictures_in(thumbnails if thumbnails.is_dir() else folder), SPLIT)
    count = len(album.everything)
    name = "ffhq" if count == FACES else f"ffhq-{count}of{FACES}"
    made = assembled(name, album, checked(View(size, None, 3)), seed)
    return DataSet(**made, likelihood=likelihood, scale=scale, citation=KARRAS, licence="CC BY-NC-SA 4.0")


SOURCES = (
    Source(
        name="celeba",
        what="faces of known people in colour, cut and resized to 64x64",
        shape=(3, 64, 64),
        size=(162_770, 19_867, 19_962),
        load=celeba,
        folders=("celeba", "CelebA"),
        files=(LISTS, FIRST_CELEB),
        by_hand="they are img_align_celeba.zip (unpack it) and list_eval_partition.txt of "
        "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        citation=LIU,
        licence=RESEARCH,
    ),
    Source(
        name="ffhq",
        what="faces in colour, thumbnails resized to 64x64",
        shape=(3, 64, 64),
        size=(55_000, 5000, 10_000),
        load=ffhq,
        folders=("ffhq", "FFHQ", "ffhq-dataset"),
        files=(FIRST_FACE,),
        by_hand="they are thumbnails128x128 of https://github.com/NVlabs/ffhq-dataset",
        citation=KARRAS,
        licence="CC BY-NC-SA 4.0",
    ),
)
