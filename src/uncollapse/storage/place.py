"""What a study asks of the place where it lies."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from uncollapse.claim import Claim, Shelf
from uncollapse.storage.disk import Disk

__all__ = ["Place", "at", "is_address"]


class Place(Protocol):
    """The folder of a study.

    Attributes:
        name: the path or the address.
        folder: a local folder that holds its small files.
    """

    name: str
    folder: Path

    def ready(self) -> None:
        """See whether the place can keep workers apart.

        Raises:
            BadInput: when it cannot.
        """
        ...

    def refresh(self) -> None:
        """Bring the small files in `folder` up to date."""
        ...

    def publish(self, *names: str) -> None:
        """Let others see files of the study that were written in `folder`."""
        ...

    def shelf(self, run: str) -> Shelf:
        """Where the claim on a run lies."""
        ...

    def holds(self, run: str, name: str) -> bool:
        """Whether the folder of a run has a file, asked of the place and not of the copy."""
        ...

    def result(self, run: str) -> Path:
        """A local file that is the result of a run as it is now, which may not be there yet."""
        ...

    def set_aside(self, run: str) -> None:
        """Move a damaged result out of the way, for whoever has the claim."""
        ...

    def write(self, run: str, name: str, text: str) -> None:
        """Write a small file of a run, whatever was there."""
        ...

    def remove(self, run: str, name: str) -> None:
        """Remove a file of a run, if it is there."""
        ...

    def workshop(self, run: str, claim: Claim) -> AbstractContextManager[Path]:
        """A local folder in which a run goes on where it was; what changes in it is kept."""
        ...

    def finish(self, run: str, claim: Claim, folder: Path, text: str) -> bool:
        """Make the result of a run, after all its other files; False when one is there already, which stays."""
        ...


def is_address(text: str) -> bool:
    """Whether a text is an address such as s3://bucket/study.

    Example:
        >>> is_address("s3://bucket/study"), is_address("runs/study")
        (True, False)
    """
    return "://" in text


def at(name: str | Path) -> Place:
    """The place of a path or an address.

    Raises:
        BadInput: when nothing is known of such addresses, or what reads them is not installed.
    """
    text = str(name).removeprefix("file://")
    if not is_address(text):
        return Disk(Path(text))
    from uncollapse.storage.cloud import Cloud

    return Cloud(text)
