"""MNIST and its kin, read from IDX files that the user has put in place."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from uncollapse.data.dataset import DataSet
from uncollapse.data.idx import read_idx
from uncollapse.data.places import find_file, find_folder, roots
from uncollapse.data.published import published
from uncollapse.data.source import Source
from uncollapse.data.tensors import from_tensors, mixed
from uncollapse.errors import BadInput

__all__ = ["FAMILY", "SOURCES", "Family"]

DIGITS = tuple("0123456789")
LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
MERGED = (*DIGITS, *LETTERS, *"abdefghnqrt")
EMNIST = {
    "balanced": MERGED,
    "bymerge": MERGED,
    "byclass": (*DIGITS, *LETTERS, *"abcdefghijklmnopqrstuvwxyz"),
    "letters": LETTERS,
    "digits": DIGITS,
    "mnist": DIGITS,
}


@dataclass(frozen=True)
class Family:
    """One data set in MNIST's format: (1, 28, 28) bytes in four IDX files.

    Arguments:
        name: of the data set.
        folders: names that its folder may have.
        classes: names of the labels.
        citation, licence: for people.
        variant: part of the file names, for EMNIST.
    """

    name: str
    folders: tuple[str, ...]
    classes: tuple[str, ...]
    citation: str
    licence: str
    variant: str = ""

    @property
    def files(self) -> list[tuple[str, ...]]:
        """Images and labels for training, images and labels for testing; each with its alternative names."""
        stems = []
        for part in ("train", "test" if self.variant else "t10k"):
            prefix = f"emnist-{self.variant}-{part}" if self.variant else part
            stems += [f"{prefix}-images{{}}idx3-ubyte", f"{prefix}-labels{{}}idx1-ubyte"]
        return [tuple(stem.format(dot) + end for end in (".gz", "") for dot in "-.") for stem in stems]

    def find(self, data_dir: str | Path | None = None) -> Path | None:
        """The folder with all four files, or None."""
        return find_folder(self.folders, self.files, data_dir)

    def load(
        self,
        seed: int = 0,
        binarise: str = "dynamic",
        data_dir: str | Path | None = None,
        valid: int = 10_000,
        limit: int | None = None,
    ) -> DataSet:
        """The data set; `valid` training images, chosen by class and seed, are held out for validation.

        Arguments:
            seed: of the split and the fixed draws.
            binarise: "dynamic", "fixed" or "none".
            data_dir: searched first.
            valid: images held out of the training files.
            limit: keep this many training images, chosen in the same way; all if None.

        Raises:
            BadInput: when files are missing, damaged or do not fit each other, or a number makes no sense.
        """
        folder = self.find(data_dir)
        if folder is None:
            raise BadInput(self.missing(data_dir))
        paths = [find_file(folder, names) or folder for names in self.files]
        x, y = self.read(paths[0], paths[1])
        if valid < 2 or valid > len(x) - 2 or (limit is not None and not 2 <= limit <= len(x) - valid):
            raise BadInput(
                f"valid and limit should leave at least two of the {len(x)} training images on each side, "
                f"got valid={valid} and limit={limit}"
            )
        order = mixed(len(x), y, seed)
        train, held_out = np.sort(order[: limit or len(x) - valid]), np.sort(order[len(x) - valid :])
        return from_tensors(
            x[train],
            y[train],
            valid=(x[held_out], y[held_out]),
            test=self.read(paths[2], paths[3]),
            name=self.name,
            likelihood="bernoulli",
            divisor=255,
            binarise=binarise,
            classes=self.classes,
            seed=seed,
            citation=self.citation,
            licence=self.licence,
        )

    def read(self, images: Path, labels: Path) -> tuple[np.ndarray, np.ndarray]:
        """Upright images (N, 1, H, W) and labels from 0, checked against each other."""
        x, y = read_idx(images, 3), read_idx(labels, 1).astype(np.int64)
        if x.dtype != np.uint8:
            raise BadInput(f"{images} should hold bytes, got {x.dtype}")
        if len(x) != len(y):
            raise BadInput(f"{images} holds {len(x)} images, but {labels} holds {len(y)} labels; were files swapped?")
        if self.variant:  # EMNIST stores columns first, and counts letters from 1
            x, y = x.transpose(0, 2, 1), y - (self.variant == "letters")
        if len(y) and not 0 <= y.min() <= y.max() < len(self.classes):
            raise BadInput(f"{labels} should hold labels of {len(self.classes)} classes, got {y.min()} to {y.max()}")
        return x[:, None], y

    def missing(self, data_dir: str | Path | None) -> str:
        """What to put where."""
        wanted = ", ".join(names[0] for names in self.files)
        places = " or ".join(str(root / self.folders[0]) for root in roots(data_dir))
        return (
            f"{self.name} was not found; put {wanted} (or the same without .gz) into {places}, "
            f"or say where they are with --data-dir (data_dir=) or $UNCOLLAPSE_DATA{how_to_get(self.name)}"
        )


LECUN = "LeCun, Bottou, Bengio, Haffner, 1998, Gradient-based learning applied to document recognition, Proc. IEEE 86"
FASHION = "Xiao, Rasul, Vollgraf, 2017, Fashion-MNIST, https://arxiv.org/abs/1708.07747"
KUZUSHIJI = "Clanuwat et al., 2018, Deep Learning for Classical Japanese Literature, https://arxiv.org/abs/1812.01718"
COHEN = "Cohen, Afshar, Tapson, van Schaik, 2017, EMNIST, https://arxiv.org/abs/1702.05373"
CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
SYLLABLES = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")

FAMILY = {
    "mnist": Family("mnist", ("mnist", "MNIST"), DIGITS, LECUN, "not stated with the files"),
    "fashion-mnist": Family(
        "fashion-mnist", ("fashion-mnist", "fashion_mnist", "FashionMNIST"), CLOTHES, FASHION, "MIT"
    ),
    "kmnist": Family("kmnist", ("kmnist", "KMNIST"), SYLLABLES, KUZUSHIJI, "CC BY-SA 4.0"),
    "emnist": Family("emnist", ("emnist", "EMNIST"), MERGED, COHEN, "not stated with the files", "balanced"),
}

WHAT = {
    "mnist": ("handwritten digits", 50_000, 10_000),
    "fashion-mnist": ("clothes", 50_000, 10_000),
    "kmnist": ("cursive Japanese syllables", 50_000, 10_000),
    "emnist": ("handwritten digits and letters, 47 balanced classes (other variants by option)", 102_800, 18_800),
}

BY_HAND = {
    "kmnist": "they come from https://github.com/rois-codh/kmnist",
    "emnist": "unpack https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
}


def how_to_get(name: str) -> str:
    """The end of a sentence on where the files come from."""
    if published(name):
        return f"; `uncollapse data fetch {name}` downloads them"
    return f"; {BY_HAND[name.partition('-')[0]]}"


def described(family: Family) -> Source:
    """The family's line in the catalogue."""
    what, train, test = WHAT[family.name]
    return Source(
        name=family.name,
        what=what,
        shape=(1, 28, 28),
        size=(train, 10_000, test),
        load=family.load,
        folders=family.folders,
        files=tuple(family.files),
        remote=published(family.name),
        by_hand=BY_HAND.get(family.name, ""),
        citation=family.citation,
        licence=family.licence,
    )


def variant(options: dict[str, Any]) -> tuple[Callable[..., DataSet], dict[str, Any]]:
    """EMNIST comes in six variants with files of their own: the reader of one, and the options that are left."""
    rest, family = dict(options), FAMILY["emnist"]
    if "variant" in rest:
        chosen = str(rest.pop("variant"))
        if chosen not in EMNIST:
            near = get_close_matches(chosen, EMNIST, 1, 0.4)
            meant = f"did you mean {near[0]!r}? " if near else ""
            raise BadInput(f"unknown variant {chosen!r} of EMNIST; {meant}known: {', '.join(EMNIST)}")
        family = replace(family, name=f"emnist-{chosen}", variant=chosen, classes=EMNIST[chosen])
    return family.load, rest


SOURCES = tuple(described(family) for family in FAMILY.values())
