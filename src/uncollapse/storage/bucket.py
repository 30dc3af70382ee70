"""A folder of an object store, or of whatever else fsspec reaches; the only file that knows fsspec."""

import errno
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from uncollapse.drafts import drafted_file
from uncollapse.errors import BadInput

__all__ = ["Bucket"]

OPTIONS: dict[str, dict[str, Any]] = {"s3": {"use_listings_cache": False}}
KNOWN = ("s3", "gs", "abfs", "memory")  #: whose libraries can make a file only where there is none
THERE = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409", "pre-condition")


class Bucket:
    """Files below an address, by their names relative to it.

    Whatever goes wrong on the way is an `OSError`, which whoever can wait tries again. An object is always whole: a
    reader sees the one before or the one after.

    Arguments:
        address: such as s3://bucket/study.
    """

    def __init__(self, address: str) -> None:
        protocol = address.split("://", 1)[0]
        if protocol not in KNOWN:
            raise BadInput(
                f"a study may lie at {', '.join(f'{one}://' for one in KNOWN)} or in a folder, got {address!r}; "
                "mount what else there is as a folder"
            )
        try:
            import fsspec

            self.fs, root = fsspec.url_to_fs(address, **OPTIONS.get(protocol, {}))
        except ImportError as error:
            hint = "pip install 'uncollapse[s3]'" if protocol == "s3" else str(error)
            raise BadInput(f"{address} needs a package that is not installed: {hint}") from error
        except ValueError as error:
            raise BadInput(f"cannot make sense of the address {address}: {error}") from error
        self.name, self.root = address.rstrip("/"), root.rstrip("/")

    def below(self, folder: str) -> "Bucket":
        """A folder in it."""
        other = object.__new__(Bucket)
        other.fs, other.name, other.root = self.fs, f"{self.name}/{folder}", f"{self.root}/{folder}"
        return other

    def path(self, name: str) -> str:
        """The whole name of a file."""
        return f"{self.root}/{name}"

    def find(self) -> dict[str, str]:
        """Every file below, with a stamp that changes when it does."""
        with reaching(self.name):
            self.fs.invalidate_cache()
            try:
                found = self.fs.find(self.root, detail=True)
            except FileNotFoundError:
                return {}
        start = len(self.root.lstrip("/")) + 1
        names = {path: path.lstrip("/")[start:] for path, entry in found.items() if entry["type"] == "file"}
        return {name: stamp(found[path]) for path, name in names.items() if plain(name)}

    def names(self) -> list[str]:
        """Names of the files in it, without those in folders in it."""
        with reaching(self.name):
            self.fs.invalidate_cache()
            try:
                found = self.fs.ls(self.root, detail=False)
            except FileNotFoundError:
                return []
        return [str(path).rstrip("/").rpartition("/")[2] for path in found]

    def has(self, name: str) -> bool:
        """Whether a file is there."""
        with reaching(self.name):
            self.fs.invalidate_cache()
            return bool(self.fs.exists(self.path(name)))

    def create(self, name: str, text: str) -> bool:
        """Make a file unless it is there: a conditional write (`If-None-Match: *` on S3)."""
        try:
            with reaching(self.name):
                self.fs.pipe_file(self.path(name), text.encode(), mode="create")
        except FileExistsError:
            return False
        except OSError as error:
            if any(word in str(error) or word in repr(error.__cause__) for word in THERE) and self.has(name):
                return False
            raise
        return True

    def read(self, name: str) -> str | None:
        """The text of a file, or None."""
        try:
            with reaching(self.name):
                return str(self.fs.cat_file(self.path(name)).decode(errors="replace"))
        except FileNotFoundError:
            return None

    def tail(self, name: str, size: int) -> bytes:
        """The end of a file."""
        with reaching(self.name):
            return bytes(self.fs.tail(self.path(name), size))

    def write(self, name: str, text: str) -> None:
        """Write a file, whatever was there."""
        with reaching(self.name):
            self.fs.pipe_file(self.path(name), text.encode())

    def put(self, file: Path, name: str) -> None:
        """Copy a local file here."""
        with reaching(self.name):
            self.fs.put_file(str(file), self.path(name))

    def get(self, name: str, file: Path) -> None:
        """Copy a file to a local one, which appears whole."""
        with drafted_file(file) as temporary, reaching(self.name):
            self.fs.get_file(self.path(name), str(temporary))

    def check(self) -> None:
        """Look whether the store knows conditional writes, which claims are made of.

        Raises:
            BadInput: when it does not.
        """
        name = f".probe-{uuid.uuid4().hex}"
        self.create(name, "")
        twice = self.create(name, "")
        self.remove(name)
        if twice:
            raise BadInput(
                f"the store of {self.name} overwrites in spite of If-None-Match, so two workers could not be kept "
                "apart; use one that has conditional writes, or a shared folder"
            )

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with suppress(FileNotFoundError), reaching(self.name):
            self.fs.rm_file(self.path(name))


def plain(name: str) -> bool:
    """Whether a name, used below a folder, stays below it; a store takes any name, `../x` too."""
    return bool(name) and "\\" not in name and not {"", ".", ".."} & set(name.split("/"))


def stamp(entry: dict[str, Any]) -> str:
    """What changes when a file does."""
    keys = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "created", "modified", "ino", "size")
    return repr([str(entry[key]) for key in keys if entry.get(key) is not None])


@contextmanager
def reaching(name: str) -> Iterator[None]:
    """Every failure as an `OSError`: libraries of stores have errors of their own."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(errno.EIO, f"cannot reach {name}: {error or type(error).__name__}") from error
