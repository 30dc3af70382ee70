"""Data prepared once and mapped into memory afterwards: the second start reads no source file."""

import hashlib
import json
import os
import stat
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from uncollapse.data.part import Known, Part
from uncollapse.data.places import cache_dir
from uncollapse.data.stored import About, Store
from uncollapse.drafts import drafted_folder, make_folder, sweep
from uncollapse.errors import BadInput, said

__all__ = ["Prepared", "prepared"]

FORMAT = 1  # part of every key: another number makes all older folders unused


@dataclass(frozen=True)
class Prepared:
    """Arrays by name, mapped from the cache or in memory.

    Attributes:
        arrays: by name; writing into a mapped one changes nothing on disk.
        about: shape, type, SHA-256 of the bytes, smallest and largest number of each array.
        facts: what else was noted down when they were made, such as names of classes.
    """

    arrays: dict[str, np.ndarray]
    about: dict[str, About]
    facts: dict[str, Any]

    def part(self, x: str, y: str | None = None, **settings: Any) -> Part:
        """The arrays of these names as a part whose range and digest are known without reading it.

        Arguments:
            x, y: names of the examples and of the labels; a name that is not there means no labels.
            settings: of `Part`: divisor, binarise, seed, tokens.
        """
        about, examples = self.about[x], torch.from_numpy(self.arrays[x])
        labels = torch.from_numpy(np.array(self.arrays[y], np.int64)) if y in self.arrays else None
        return Part(examples, labels, known=Known(examples, about.digest, about.low, about.high), **settings)


def prepared(
    name: str,
    sources: Sequence[Path],
    options: Mapping[str, Any],
    make: Callable[[Store], None],
    cache: Path | None = None,
) -> Prepared:
    """Arrays that are made once from files and mapped into memory whenever they are asked for again.

    The folder `<cache>/prepared/<name>-<key>/` holds one .npy file an array and meta.json. The key is made of the
    paths, sizes and times of the sources, of the options and of the version of the format, so that a change of any
    makes a new folder; old ones may be deleted at any time. A folder appears only when it is complete. One that is
    damaged (an array missing, cut short or of another shape) is made anew. Where nothing can be written, the arrays
    stay in memory, with a warning.

    Arguments:
        name: of the data set; the beginning of the folder's name.
        sources: files that decide the content; they are looked at, not read.
        options: everything else that decides it, as JSON can hold it.
        make: writes all arrays and facts into the `Store` that it is given; may be called twice. It should turn the
            errors of its own reading into `BadInput`: an `OSError` is taken for a cache that cannot be written.
        cache: folder of the cache; the user's if None.

    Raises:
        BadInput: when a source is missing, and whatever `make` raises.

    Example:
        >>> from tempfile import mkdtemp
        >>> folder = Path(mkdtemp())
        >>> made = prepared("ones", [], {"n": 3}, lambda store: store.put("x", np.ones((3, 2), np.uint8)), folder)
        >>> made.part("x").range, [path.name for path in (folder / "prepared").glob("*/*.npy")]
        ((1.0, 1.0), ['x.npy'])
    """
    folder = (cache or cache_dir()) / "prepared" / f"{name}-{key_of(sources, options)}"
    found = opened(folder)
    if found is not None:
        sweep(folder.parent, f".{folder.name}.")  # what a kill right after the last rename left
        return found
    try:
        return built(folder, make)
    except OSError as error:
        warnings.warn(
            f"{name} is kept in memory, because {folder.parent} cannot be written: {said(error)}",
            stacklevel=3,
        )
    store = Store()
    make(store)
    return Prepared(store.arrays, store.about, store.facts)


def key_of(sources: Sequence[Path], options: Mapping[str, Any]) -> str:
    """16 hex digits from what decides the content."""
    files = []
    for path in sources:
        try:
            status = os.stat(path)  # noqa: PTH116  # the method of paths takes twice as long, and there may be many
        except OSError as error:
            raise BadInput(f"cannot read {path}: {said(error)}") from error
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for, a device would never end
            raise BadInput(f"cannot read {path}: it is no ordinary file; expected one")
        files.append([os.path.abspath(path), status.st_size, status.st_mtime_ns])  # noqa: PTH100
    text = json.dumps([FORMAT, files, dict(options)], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def opened(folder: Path) -> Prepared | None:
    """The arrays of a folder, mapped; None if it is not there, incomplete or damaged."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        about = {name: About(**{**one, "shape": tuple(one["shape"])}) for name, one in meta["arrays"].items()}
        arrays = {name: mapped(folder / f"{name}.npy", one) for name, one in about.items()}
        return Prepared(arrays, about, dict(meta["facts"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def mapped(path: Path, about: About) -> np.ndarray:
    """One array; private pages, so that torch may take it for writable while the file stays as it is."""
    array: np.memmap[Any, Any] = np.load(path, mmap_mode="c", allow_pickle=False)
    if array.shape != about.shape or array.dtype.str != about.dtype:
        raise ValueError(f"{path} holds {array.dtype} {array.shape}")
    if path.stat().st_size != array.offset + array.nbytes:
        raise ValueError(f"{path} is longer than its array")
    return array.view(np.ndarray)


def built(folder: Path, make: Callable[[Store], None]) -> Prepared:
    """Made in a temporary folder beside the final one, then renamed."""
    make_folder(folder.parent)
    sweep(folder.parent)
    try:
        with drafted_folder(folder) as draft:
            store = Store(draft)
            make(store)
            meta = {"facts": store.facts, "arrays": {name: asdict(one) for name, one in store.about.items()}}
            (draft / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")
            found = opened(folder)
            if found is not None:
                raise FasterError
    except FasterError:
        return opened(folder) or built(folder, make)
    found = opened(folder)
    if found is None:
        raise OSError(f"what was written to {folder} cannot be read back")
    return found


class FasterError(Exception):
    """Another process has prepared the same data meanwhile."""
