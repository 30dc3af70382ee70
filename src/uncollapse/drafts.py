"""Files and folders that appear whole: written in a folder beside the final place, brought to disk, renamed.

A draft is a folder `.NAME.RANDOM.part` beside NAME. Whoever writes holds a lock on the file `lock` in it, which the
system lets go when a process ends in any way, so a draft that can be locked is one that nobody finishes any more: it
is removed by whoever writes NAME next. Neither clocks nor process numbers are asked, which differ between machines.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

if sys.platform != "win32":
    import fcntl

__all__ = ["drafted_file", "drafted_folder", "make_folder", "recovered", "scratch", "sweep", "sync"]

SUFFIX, OLD = ".part", ".old"
DAY = 86_400.0  #: seconds after which a draft counts as left over where files cannot be locked


@contextmanager
def drafted_file(target: Path, keep: Path | None = None, lasting: bool = True) -> Iterator[Path]:
    """A path that takes the place of `target` when the block ends well, and vanishes when it does not.

    A reader finds the old file or the new one, after a kill and after a power cut too: the content is on disk before
    the name is, and the name before the block ends.

    Arguments:
        target: the file.
        keep: the name under which the old file is kept, if there is one.
        lasting: whether it has to outlive a power cut; bringing it to disk takes milliseconds.

    Raises:
        OSError: when the disk is full, read-only or otherwise unwilling.

    Example:
        >>> place = Path(tempfile.mkdtemp())
        >>> with drafted_file(place / "words") as path:
        ...     _ = path.write_text("whole")
        >>> [path.name for path in place.iterdir()], (place / "words").read_text()
        (['words'], 'whole')
    """
    with draft(target) as place:
        file = place / target.name
        yield file
        if lasting:
            sync(file)
        file.chmod(0o666 & ~umask())
        if keep is not None and target.exists():
            target.replace(keep)
        file.replace(target)
        if lasting:
            sync(target.parent)


@contextmanager
def drafted_folder(target: Path) -> Iterator[Path]:
    """A folder that takes the place of `target` when the block ends well, and vanishes when it does not.

    Where an old folder lies it is renamed, and removed when the new one has its name. A kill between the two leaves
    it under another name, from where `recovered` brings it back.

    Raises:
        OSError: when the disk is full, read-only or otherwise unwilling.
    """
    with draft(target) as place:
        folder = place / target.name
        folder.mkdir()
        yield folder
        for path in (*folder.rglob("*"), folder):
            sync(path)
        folder.chmod(0o777 & ~umask())
        exchange(folder, recovered(target))
        sync(target.parent)
        shutil.rmtree(beside(target), ignore_errors=True)


def exchange(folder: Path, target: Path) -> None:
    """Give a folder its name; the one that had it is kept beside it for the moment."""
    for _ in range(9):  # a reader may bring the old one back between the two renames
        if target.exists():
            shutil.rmtree(beside(target), ignore_errors=True)
            target.replace(beside(target))
        try:
            folder.replace(target)
            return
        except OSError:
            if not target.exists():
                raise
    raise OSError(f"{target} is being written by somebody else")


def beside(target: Path) -> Path:
    """Where the old folder waits until the new one has its name."""
    return target.with_name(f".{target.name}{OLD}")


def recovered(target: Path) -> Path:
    """The folder's path, after the old one was brought back if somebody was killed while replacing it."""
    if not target.exists() and beside(target).exists():
        with suppress(OSError):  # another process was faster, or the folder is for reading only
            beside(target).replace(target)
    return target


@contextmanager
def draft(target: Path) -> Iterator[Path]:
    """A folder beside `target` that is this process's alone and is removed at the end."""
    make_folder(target.parent)
    sweep(target.parent, f".{target.name}.")
    with scratch(target.parent, f".{target.name}.") as place:
        yield place


@contextmanager
def scratch(parent: Path, prefix: str) -> Iterator[Path]:
    """A folder that is removed at the end, or by `sweep` with the same prefix if this process is killed."""
    place, lock = locked(parent, prefix)
    try:
        yield place
    finally:
        remove(place)
        lock.close()


def locked(parent: Path, prefix: str) -> tuple[Path, IO[bytes]]:
    """A new folder with a lock held in it."""
    while True:
        place = Path(tempfile.mkdtemp(prefix=prefix, suffix=SUFFIX, dir=parent))
        try:
            lock = (place / "lock").open("wb")
        except FileNotFoundError:
            continue
        except OSError:
            shutil.rmtree(place, ignore_errors=True)
            raise
        if sys.platform != "win32":
            with suppress(OSError):  # there are file systems without locks
                fcntl.flock(lock, fcntl.LOCK_EX)
        if (place / "lock").exists():  # else a sweep took it between the two lines above
            return place, lock
        lock.close()


def sweep(parent: Path, prefix: str = ".") -> None:
    """Remove the drafts that nobody finishes any more.

    Arguments:
        parent: where they lie.
        prefix: of their names.
    """
    try:
        with os.scandir(parent) as entries:
            names = [one.name for one in entries if one.name.startswith(prefix) and one.name.endswith(SUFFIX)]
    except OSError:
        return
    for name in names:
        if abandoned(parent / name):
            remove(parent / name)


def remove(place: Path) -> None:
    """Remove a draft, if that can be done, its lock last: what is left half way can still be told from one in use."""
    with suppress(OSError):
        if place.is_symlink() or not place.is_dir():
            place.unlink()
            return
        for path in place.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != "lock":
                path.unlink()
        shutil.rmtree(place, ignore_errors=True)


def abandoned(place: Path) -> bool:
    """Whether nobody works on a draft; where files cannot be locked, whether it is older than a day."""
    try:
        with (place / "lock").open("rb+") as lock:
            if sys.platform == "win32":
                return aged(place)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError:
                return aged(place)
            return True
    except FileNotFoundError:  # its owner is about to make the lock, and makes another draft if this one is gone
        with suppress(OSError):
            place.rmdir()
        return aged(place)
    except OSError:  # a file of an older version
        return aged(place)


def aged(place: Path) -> bool:
    """Whether a draft was last changed more than a day ago, or ahead, which a clock that was put back leaves."""
    try:
        return abs(time.time() - place.stat().st_mtime) > DAY
    except OSError:
        return False


def make_folder(folder: Path) -> None:
    """Make a folder and the ones above it, and bring their names to disk."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in missing:
        sync(one.parent)


def sync(path: Path) -> None:
    """Bring the content of a file, or the names in a folder, to disk."""
    if path.is_dir() and sys.platform == "win32":  # Windows opens no folders
        return
    handle = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        if not path.is_dir():  # some network file systems sync no folders
            raise
    finally:
        os.close(handle)


def umask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
