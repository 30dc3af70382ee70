"""Tables of numbers on disk, mapped into memory: a .npy file each, and a header that says what belongs together."""

import json
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uncollapse.drafts import drafted_folder, recovered
from uncollapse.errors import BadInput, ShapeError, WorkFailed

__all__ = ["NAMES", "Draft", "Mapped", "drafted"]

FORMAT = "uncollapse codes 1"
HEADER = "codes.json"
NAMES = ("mean", "scale", "sample", "kl", "labels")


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turns what a full or unwilling disk raises into a sentence."""
    try:
        yield
    except OSError as error:
        what = error.strerror or error
        raise WorkFailed(f"cannot write {folder}: {what}; free some space or choose another folder") from error


class Draft:
    """Takes tables in pieces, so that they never have to be in memory at once.

    Arguments:
        folder: where they are written.
        final: what the folder will be called, for messages.
    """

    def __init__(self, folder: Path, final: Path) -> None:
        self.folder, self.final = folder, final
        self.files: dict[str, Any] = {}
        self.about: dict[str, tuple[np.dtype[Any], list[int]]] = {}

    def append(self, name: str, rows: Tensor) -> None:
        """The next rows of a table, (n, *shape); plain writing, because a full disk under a map kills the process."""
        piece = np.ascontiguousarray(rows.detach().cpu().numpy())
        with writing(self.final):
            if name not in self.files:
                self.files[name] = (self.folder / f"{name}.npy").open("wb")
                self.about[name] = (piece.dtype, [0, *piece.shape[1:]])
                self.head(name)
            kind, shape = self.about[name]
            if piece.dtype != kind or list(piece.shape[1:]) != shape[1:]:
                raise ShapeError(f"{name} should go on in {kind} {shape[1:]}, got {piece.dtype} {piece.shape[1:]}")
            self.files[name].write(piece.data)
        shape[0] += len(piece)

    def head(self, name: str) -> None:
        """Write the head of a .npy file, which has room for any number of rows."""
        kind, shape = self.about[name]
        about = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": tuple(shape)}
        np.lib.format.write_array_header_1_0(self.files[name], about)

    def complete(self) -> None:
        """Write what is known only at the end; nothing can be added afterwards."""
        with writing(self.final):
            for name, file in self.files.items():
                file.seek(0)
                self.head(name)
                file.flush()
                os.fsync(file.fileno())
            self.close()
            tables = {name: {"dtype": kind.str, "shape": shape} for name, (kind, shape) in self.about.items()}
            header = json.dumps({"format": FORMAT, "tables": tables}, indent=1)
            (self.folder / HEADER).write_text(header + "\n", encoding="utf-8")

    def close(self) -> None:
        """Close all files."""
        for file in self.files.values():
            file.close()


@contextmanager
def drafted(folder: Path) -> Iterator[Draft]:
    """A draft that becomes `folder` when the block completes it and ends well, and vanishes when it does not.

    Raises:
        BadInput: when something else lies there.
        WorkFailed: when the disk is full, read-only or otherwise unwilling.
    """
    if recovered(folder).exists() and not (folder / HEADER).is_file():
        raise BadInput(f"{folder} should be a new folder or one of codes, but something else lies there; name another")
    with ExitStack() as stack:
        with writing(folder):
            place = stack.enter_context(drafted_folder(folder))
        draft = Draft(place, folder)
        try:
            yield draft
        finally:
            draft.close()
        with writing(folder):  # errors of the block are the caller's own
            stack.close()


class Mapped:
    """Tables of a folder, read when they are touched.

    Arguments:
        folder: what `drafted` made.

    Attributes:
        tables: by name; they are for reading.

    Raises:
        BadInput: when the header or a table is missing, cut short, or not what the header says.
    """

    def __init__(self, folder: Path) -> None:
        arrays = {name: mapped(folder, name, *about) for name, about in header_of(recovered(folder)).items()}
        self.maps: list[Any] = [getattr(array, "_mmap", None) for array in arrays.values()]
        self.tables = {name: torch.from_numpy(array.view(np.ndarray)) for name, array in arrays.items()}

    def release(self) -> None:
        """Give the memory of what was read back; it is read again when it is needed."""
        for one in self.maps:
            if hasattr(mmap, "MADV_DONTNEED") and one is not None:
                one.madvise(mmap.MADV_DONTNEED)


def header_of(folder: Path) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Type and shape of every table."""
    path = folder / HEADER
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
        found = header["format"]
        about = {name: (np.dtype(one["dtype"]), tuple(one["shape"])) for name, one in header["tables"].items()}
    except OSError as error:
        raise BadInput(f"{folder} should be a folder of codes, but {path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{path} is damaged ({type(error).__name__}: {error}); encode the data again") from error
    if found != FORMAT or not set(about) <= set(NAMES):
        raise BadInput(f"{path} should say {FORMAT!r} and name tables of codes, got {found!r}; encode the data again")
    return about


def mapped(folder: Path, name: str, kind: np.dtype[Any], shape: Sequence[int]) -> np.memmap[Any, Any]:
    """One table; private pages, so that torch may take it for writable while the file stays as it is."""
    path = folder / f"{name}.npy"
    try:
        array: np.memmap[Any, Any] = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise BadInput(f"{path} is missing or damaged ({error}); encode the data again") from error
    if (array.dtype, array.shape) != (kind, tuple(shape)):
        raise BadInput(f"{path} should hold {kind} {shape}, got {array.dtype} {array.shape}; encode the data again")
    if path.stat().st_size != array.offset + array.nbytes:
        raise BadInput(f"{path} should end with its table, but goes on behind it; encode the data again")
    return array
