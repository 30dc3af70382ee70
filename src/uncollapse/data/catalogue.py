"""Data sets by name or path, and the list of the names."""

import inspect
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

from uncollapse.data.arrays import read_file
from uncollapse.data.builtin import ALPAYDIN, MENON, digits, gaussian_mixture
from uncollapse.data.dataset import DataSet
from uncollapse.data.mnist import EMNIST, FAMILY, Family
from uncollapse.data.places import roots
from uncollapse.errors import BadInput

__all__ = ["Entry", "catalogue", "load", "names"]

FILES = (".npy", ".npz")


@dataclass(frozen=True)
class Entry:
    """What is known about a data set before it is loaded.

    Attributes:
        name: what `load` takes.
        what: one line for people.
        shape: of one example.
        size: examples (train, valid, test) with the default options.
        nbytes: bytes that the stored examples take.
        places: folders where its files are looked for; empty when it needs none.
        present: whether it can be loaded now.
        citation, licence: for people.
    """

    name: str
    what: str
    shape: tuple[int, ...]
    size: tuple[int, int, int]
    nbytes: int
    places: tuple[Path, ...]
    present: bool
    citation: str
    licence: str


ABOUT: dict[str, tuple[str, tuple[int, ...], tuple[int, int, int], str, str]] = {
    "digits": (
        "handwritten digits in 17 grey levels; comes with scikit-learn",
        (1, 8, 8), (1257, 180, 360), ALPAYDIN, "CC BY 4.0",
    ),
    "gaussian-mixture": (
        "ten Gaussian balls in 16 dimensions; generated", (16,), (162_000, 18_000, 20_000), MENON, "none needed",
    ),
    "mnist": ("handwritten digits", (1, 28, 28), (50_000, 10_000, 10_000), "", ""),
    "fashion-mnist": ("clothes", (1, 28, 28), (50_000, 10_000, 10_000), "", ""),
    "kmnist": ("cursive Japanese syllables", (1, 28, 28), (50_000, 10_000, 10_000), "", ""),
    "emnist": (
        "handwritten digits and letters, 47 balanced classes (other variants by option)",
        (1, 28, 28), (102_800, 10_000, 18_800), "", "",
    ),
}  # fmt: skip


def names() -> list[str]:
    """Names that `load` knows.

    Example:
        >>> names()
        ['digits', 'gaussian-mixture', 'mnist', 'fashion-mnist', 'kmnist', 'emnist']
    """
    return list(ABOUT)


def catalogue(data_dir: str | Path | None = None) -> list[Entry]:
    """Every data set that has a name, and whether its files are there.

    Arguments:
        data_dir: searched first, then $UNCOLLAPSE_DATA and the user's cache.

    Example:
        >>> [entry.name for entry in catalogue() if not entry.places]
        ['digits', 'gaussian-mixture']
    """
    return [entry(name, data_dir) for name in names()]


def entry(name: str, data_dir: str | Path | None = None) -> Entry:
    """What is known about one data set."""
    what, shape, size, citation, licence = ABOUT[name]
    family = FAMILY.get(name)
    if family is not None:
        citation, licence = family.citation, family.licence
    places = () if family is None else tuple(root / family.folders[0] for root in roots(data_dir))
    width = 1 if len(shape) == 3 else 4
    return Entry(
        name=name,
        what=what,
        shape=shape,
        size=size,
        nbytes=sum(size) * math.prod(shape) * width,
        places=places,
        present=family is None or family.find(data_dir) is not None,
        citation=citation,
        licence=licence,
    )


def load(
    name: str | Path,
    seed: int = 0,
    data_dir: str | Path | None = None,
    binarise: str | None = None,
    **options: Any,
) -> DataSet:
    """A data set by its name or from a file.

    Arguments:
        name: one of `names()`, or the path of a .npy or .npz file.
        seed: of the split and of the fixed draws.
        data_dir: folder that is searched first, then $UNCOLLAPSE_DATA and the user's cache.
        binarise: "dynamic", "fixed" or "none"; if None, dynamic for images with a name, none for the rest.
        options: of that data set, such as `size` for the mixture, `valid` and `limit` for the MNIST family,
            `variant` for EMNIST, `divisor`, `likelihood`, `scale` and `fractions` for files.

    Raises:
        BadInput: for an unknown name or option (the message names the nearest right one), and when files are
            missing (the message says what to put where) or damaged.

    Example:
        >>> load("digits", seed=1)
        DataSet('digits', (1, 8, 8), train/valid/test 1257/180/360, bernoulli)
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise BadInput(f"seed should be a whole number from 0, got {seed!r}")
    maker, given = find(name, options)
    if binarise is not None:
        given["binarise"] = binarise
    known = inspect.signature(maker).parameters
    for option in given:
        if option not in known or option in {"seed", "data_dir"}:
            allowed = [key for key in known if key not in {"seed", "data_dir"}]
            raise BadInput(f"unknown option {option!r} of data set {str(name)!r}; {hint(option, allowed)}")
    if "data_dir" in known:
        given["data_dir"] = data_dir
    return maker(seed=seed, **given)


def find(name: str | Path, options: dict[str, Any]) -> tuple[Callable[..., DataSet], dict[str, Any]]:
    """What makes the data set, and the options that are left for it."""
    key = str(name)
    if key in {"digits", "gaussian-mixture"}:
        return (digits if key == "digits" else gaussian_mixture), dict(options)
    if key in FAMILY:
        return variant(FAMILY[key], options)
    path = Path(name).expanduser()
    if path.suffix not in FILES:
        raise BadInput(f"unknown data set {key!r}; {hint(key, names())}, or the path of a .npy or .npz file")
    if not path.is_file():
        raise BadInput(f"there is no file {path}; check the path, or take one of {', '.join(names())}")
    return partial(read_file, path), dict(options)


def variant(family: Family, options: dict[str, Any]) -> tuple[Callable[..., DataSet], dict[str, Any]]:
    """EMNIST comes in six variants with files of their own."""
    rest = dict(options)
    if family.variant and "variant" in rest:
        chosen = str(rest.pop("variant"))
        if chosen not in EMNIST:
            raise BadInput(f"unknown variant {chosen!r} of EMNIST; {hint(chosen, EMNIST)}")
        family = replace(family, name=f"emnist-{chosen}", variant=chosen, classes=EMNIST[chosen])
    return family.load, rest


def hint(wrong: str, right: Iterable[str]) -> str:
    """The nearest right name, and all of them."""
    known = list(right)
    near = get_close_matches(wrong, known, 1, 0.4)
    return (f"did you mean {near[0]!r}? " if near else "") + f"known: {', '.join(known) or 'none'}"
