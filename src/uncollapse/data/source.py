"""What is known about a data set that has a name: how it is read, where its files lie and how they are had."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from uncollapse.data.dataset import DataSet
from uncollapse.data.places import find_folder, roots

__all__ = ["Remote", "Source"]


@dataclass(frozen=True)
class Remote:
    """A file that may be downloaded.

    Attributes:
        url: https address.
        file: its path below the data set's folder.
        sha256: of the whole file, hex; no other content is accepted.
        size: bytes.
    """

    url: str
    file: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Source:
    """A data set by name, before it is loaded.

    Attributes:
        name: what `data.load` takes and what tables show.
        what: one line for people.
        shape: of one example; (0,) stands for a length that the files decide.
        size: examples (train, valid, test) with the default options; zeros where the files decide.
        load: makes the data set from keyword options; `seed` is always one of them, `data_dir` where it needs files.
        folders: names that its folder may have below a root; empty when it needs no file.
        files: groups of alternative file names; one of each group has to be there.
        remote: files that `data fetch` may download; empty where that is not allowed or not possible.
        by_hand: what the user has to do to get the files, where they cannot be fetched.
        citation, licence: for people.
        width: bytes that a stored number takes.
        stands_in_for: the published data set in whose place it is used, where that one is not to be had.
    """

    name: str
    what: str
    shape: tuple[int, ...]
    size: tuple[int, int, int]
    load: Callable[..., DataSet]
    folders: tuple[str, ...] = ()
    files: tuple[tuple[str, ...], ...] = ()
    remote: tuple[Remote, ...] = ()
    by_hand: str = ""
    citation: str = ""
    licence: str = ""
    width: int = 1
    stands_in_for: str = ""

    @property
    def nbytes(self) -> int:
        """Bytes that the stored examples take."""
        return sum(self.size) * math.prod(self.shape) * self.width

    def places(self, data_dir: str | Path | None = None) -> tuple[Path, ...]:
        """Folders where the files are looked for."""
        return tuple(root / self.folders[0] for root in roots(data_dir)) if self.folders else ()

    def find(self, data_dir: str | Path | None = None) -> Path | None:
        """The folder that has all files, or None."""
        return find_folder(self.folders, self.files, data_dir) if self.folders else None

    def present(self, data_dir: str | Path | None = None) -> bool:
        """Whether it can be loaded now."""
        return not self.folders or self.find(data_dir) is not None

    def missing(self, data_dir: str | Path | None = None) -> str:
        """What to put where, in a sentence."""
        wanted = ", ".join(" or ".join(group[:2]) for group in self.files)
        places = " or ".join(map(str, self.places(data_dir)))
        how = f"; `uncollapse data fetch {self.name}` downloads it" if self.remote else f"; {self.by_hand}"
        return (
            f"{self.name} was not found; put {wanted} into {places}, or say where they are with --data-dir (data_dir=) "
            f"or $UNCOLLAPSE_DATA{how if self.remote or self.by_hand else ''}"
        )
