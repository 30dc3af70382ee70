"""What a reader must never do: run code, use the network, write, or read outside its own folder."""

import os
import site
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["guarded"]

RUNS = {
    *("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "os.startfile", "pty.spawn"),
    *("subprocess.Popen", "webbrowser.open", "ctypes.dlopen", "pickle.find_class", "code.__new__", "urllib.Request"),
    *("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"),
}
CHANGES = {
    *("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.chown", "os.truncate"),
    *("os.utime", "shutil.rmtree", "shutil.move", "shutil.unpack_archive"),
}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
USUAL = {sys.prefix, sys.base_prefix, *site.getsitepackages(), *sysconfig.get_paths().values()}
OWN = (
    *sorted(USUAL),
    "/proc",
    "/sys",
    "/usr",
    str(Path(__file__).resolve().parents[1]),
)  # where Python and this project lie

armed: list[str] = []  # the folder of the reader that is at work
seen: list[str] = []  # what it did
installed: list[bool] = []


@contextmanager
def guarded(folder: Path) -> Iterator[list[str]]:
    """Collects what is done inside the block beyond reading below `folder` and writing nothing elsewhere."""
    if not installed:  # a hook cannot be taken away again; unarmed it does nothing
        sys.addaudithook(hook)
        installed.append(True)
    seen.clear()
    armed[:] = [str(folder)]
    try:
        yield seen
    finally:
        armed.clear()


def hook(event: str, arguments: tuple[Any, ...]) -> None:
    """Python's audit hook; it notes down and never raises, because a reader might swallow that."""
    if not armed:
        return
    if event == "open":
        opened(arguments)
    elif event in RUNS:
        seen.append(f"{event}{arguments!r:.200}")
    elif event == "exec" and getattr(arguments[0], "co_filename", "").startswith("<string>"):
        seen.append(f"exec of {arguments[0]!r:.200}")
    elif event in CHANGES and not all(inside(one) for one in arguments if isinstance(one, str | bytes | os.PathLike)):
        seen.append(f"{event}{arguments!r:.200}")


def opened(arguments: tuple[Any, ...]) -> None:
    """A file was opened."""
    path, mode, flags = arguments
    if not isinstance(path, str | bytes | os.PathLike) or inside(path):
        return
    if (isinstance(mode, str) and set(mode) & set("wax+")) or (isinstance(flags, int) and flags & WRITES):
        seen.append(f"opened {os.fsdecode(path)!r} for writing")
    elif not os.path.abspath(os.fsdecode(path)).startswith(OWN):  # noqa: PTH100
        seen.append(f"read {os.fsdecode(path)!r}")


def inside(path: Any) -> bool:
    """Whether a path lies in the reader's folder."""
    whole = os.path.abspath(os.fsdecode(path))  # noqa: PTH100  # must not look at the disk
    return whole == os.devnull or (bool(armed) and (whole + os.sep).startswith(armed[0] + os.sep))
