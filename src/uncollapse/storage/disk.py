"""A study in a folder on a disk, local or shared."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from uncollapse.claim import Claim, Folder, lent
from uncollapse.store import set_aside, write_text

__all__ = ["Disk"]


class Disk:
    """A folder that is worked on where it lies.

    Arguments:
        folder: of the study.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, str(folder.absolute())

    def ready(self) -> None:
        """Every disk can keep workers apart."""

    def refresh(self) -> None:
        """Nothing: files are read where they are."""

    def publish(self, *names: str) -> None:
        """Nothing: files are written where they belong."""

    def shelf(self, run: str) -> Folder:
        """Where the claim on a run lies."""
        return Folder(self.folder / run)

    def holds(self, run: str, name: str) -> bool:
        """Whether the folder of a run has a file."""
        return (self.folder / run / name).exists()

    def result(self, run: str) -> Path:
        """The result of a run, which may not be there yet."""
        return self.folder / run / "result.json"

    def set_aside(self, run: str) -> None:
        """Move a damaged result out of the way."""
        set_aside(self.folder / run / "result.json")

    def write(self, run: str, name: str, text: str) -> None:
        """Write a small file of a run."""
        write_text(self.folder / run / name, text)

    def remove(self, run: str, name: str) -> None:
        """Remove a file of a run."""
        (self.folder / run / name).unlink(missing_ok=True)

    @contextmanager
    def workshop(self, run: str, claim: Claim) -> Iterator[Path]:
        """The folder of the run itself."""
        with lent(self.folder / run, claim):
            yield self.folder / run

    def finish(self, run: str, claim: Claim, folder: Path, text: str) -> bool:
        """Make the result, unless there is one."""
        claim.check(now=True)
        return Folder(folder).create("result.json", text)
