"""One file from the web: resumed when cut, and taken only if its hash is the known one."""

import errno
import hashlib
import http.client
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from uncollapse.data.source import Remote
from uncollapse.drafts import sync
from uncollapse.errors import BadInput, WorkFailed, said

if sys.platform != "win32":
    import fcntl

__all__ = ["Progress", "download", "is_known", "part_of", "sha256_of"]

Progress = Callable[[str, int, int], None]
"""Called with a file's name, the bytes so far and the bytes in all."""

CHUNK = 2**18
ATTEMPTS = 5
TIMEOUT = 30.0  # seconds without a byte
LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def part_of(target: Path) -> Path:
    """Where a download lies until it is whole."""
    return target.with_name(f"{target.name}.part")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_known(path: Path, remote: Remote) -> bool:
    """Whether a file is the published one."""
    return path.is_file() and path.stat().st_size == remote.size and sha256_of(path) == remote.sha256


def download(
    remote: Remote, target: Path, progress: Progress | None = None, attempts: int = ATTEMPTS, pause: float = 1.0
) -> Path:
    """One file; it appears under its name only when it is whole and has the known hash.

    Arguments:
        remote: where it is and what it has to be.
        target: what it shall be called.
        progress: called with its name, the bytes so far and the bytes in all.
        attempts: how often a broken connection is taken up again.
        pause: seconds before the second attempt, doubled for each further one.

    Raises:
        BadInput: when the address is not https (http is for this very machine only).
        WorkFailed: when the server, the connection or the disk fails, or what came is not the known file.
    """
    check_address(remote.url)
    if is_known(target, remote):
        return target
    part = part_of(target)
    with disk(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as file:
            lock(file, target)
            resumed = 0 < file.tell() <= remote.size
            transfer(remote, file, progress, attempts, pause)
            if resumed and sha256_of(part) != remote.sha256:  # what lay there was of another file: once more, whole
                file.truncate(0)
                transfer(remote, file, progress, attempts, pause)
        found = sha256_of(part)
        if found != remote.sha256:
            part.unlink()
            raise WorkFailed(
                f"{remote.url} is not the file that is known as {target.name}: expected SHA-256 {remote.sha256}, got "
                f"{found}; nothing was kept, and the server should not be trusted with it"
            )
        sync(part)
        part.replace(target)
        sync(target.parent)
    return target


def transfer(remote: Remote, file: IO[bytes], progress: Progress | None, attempts: int, pause: float) -> None:
    """Append to an open part until it has all bytes, over as many connections as are allowed."""
    wrong, have = "", size_of(file, remote)
    for attempt in range(attempts):
        if have == remote.size:
            return
        if attempt:
            time.sleep(pause * 2 ** (attempt - 1))
        check_space(file, remote.size - have)
        wrong = connect(remote, file, have, progress) or "the connection ended early"
        have = size_of(file, remote)
    if have < remote.size:
        raise WorkFailed(
            f"{remote.url} broke off after {have} of {remote.size} bytes in {attempts} attempts ({wrong}); what came "
            "is kept, run the same command to go on"
        )


def size_of(file: IO[bytes], remote: Remote) -> int:
    """Bytes of an open part; one that is too long is emptied."""
    have = file.seek(0, os.SEEK_END)
    return have if have <= remote.size else file.truncate(0)


def connect(remote: Remote, file: IO[bytes], have: int, progress: Progress | None) -> str:
    """One connection; what went wrong with it, if it is worth another."""
    try:
        with opened(remote.url, have) as answer:
            receive(answer, remote, file, have, progress)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the part is longer than the file there
            file.truncate(0)
        elif error.code < 500 and error.code != 429:
            raise WorkFailed(f"{remote.url} cannot be had: the server says {error.code} {error.reason}") from None
        return f"the server says {error.code} {error.reason}"
    except (OSError, http.client.HTTPException) as error:  # the connection; the disk's errors are WorkFailed
        return f"{getattr(error, 'reason', error) or type(error).__name__}"
    return ""


def opened(url: str, have: int) -> Any:
    """The server's answer to a request for what is missing."""
    headers = {"User-Agent": "uncollapse", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    opener = urllib.request.build_opener(Redirects)
    return opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)


def receive(answer: Any, remote: Remote, file: IO[bytes], have: int, progress: Progress | None) -> None:
    """Append what an answer holds; start over where the server sends the file from its beginning."""
    begins = (answer.headers.get("Content-Range") or "").startswith(f"bytes {have}-")
    if answer.status == 206 and have and not begins:
        raise ConnectionError("the server sent another piece than was asked for")
    start = have if answer.status == 206 else 0
    announced = answer.headers.get("Content-Length") or ""
    if announced.isdigit() and int(announced) != remote.size - start:
        raise WorkFailed(
            f"{remote.url} is not the known file: expected {remote.size} bytes, but the server announces "
            f"{start + int(announced)}; nothing of it was kept"
        )
    if start != have:  # the server sends the file from its beginning
        have = file.truncate(0)
    while piece := answer.read(CHUNK):
        if have + len(piece) > remote.size:
            file.truncate(0)
            raise WorkFailed(
                f"{remote.url} is not the known file: it has more than {remote.size} bytes; nothing of it was kept"
            )
        with disk(Path(file.name).parent):
            file.write(piece)
            file.flush()
        have += len(piece)
        if progress is not None:
            progress(remote.file, have, remote.size)


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a server only to addresses that would have been taken at first."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """The next request."""
        check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def check_address(url: str) -> None:
    """Refuse what could be read or changed on the way."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise BadInput(f"data are fetched over https only, got {url}")


def check_space(file: IO[bytes], needed: int) -> None:
    """Refuse to begin what cannot be finished."""
    free = shutil.disk_usage(Path(file.name).parent).free
    if free < needed:
        raise WorkFailed(f"{file.name} needs {needed} more bytes, but the disk has {free} free; make room first")


def lock(file: IO[bytes], target: Path) -> None:
    """Refuse a second download of the same file at the same time."""
    if sys.platform != "win32":  # where there are no such locks, two downloads of a file spoil each other's part
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WorkFailed(f"{target} is being fetched by another process; wait for it") from None


@contextmanager
def disk(folder: Path) -> Iterator[None]:
    """Errors of the disk as one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise WorkFailed(f"the disk of {folder} is full; make room, then run the same command to go on") from error
        raise WorkFailed(f"cannot write to {folder}: {said(error)}") from error
