"""How much a file may take in memory, and what counts as a file: the same rule for every reader."""

import math
import os
import stat
from pathlib import Path

from uncollapse.errors import BadInput

__all__ = ["CARELESS", "MAX_BYTES", "RATIO", "SETTING", "advice", "regular", "room", "size_of"]

MAX_BYTES = 4 * 2**30  # a larger array in one file is taken for a mistake or an attack
CARELESS = 2**28  # what any file may unpack to, however small it is
RATIO = 200  # how many times its own size a file may take beyond that; text shrinks to a tenth, images of ink to a 50th
SETTING = "UNCOLLAPSE_MAX_GIB"


def room(packed: float, most: float | None = None) -> int:
    """Bytes that what is read from a file may take.

    256 MiB for every file, 200 times its own size for larger ones, 4 GiB at most. `$UNCOLLAPSE_MAX_GIB` takes the place
    of all three for who trusts a file.

    Arguments:
        packed: bytes of the file itself.
        most: what the caller allows in place of all this.

    Raises:
        BadInput: when the setting is no positive number.

    Example:
        >>> room(1000) == 256 * 2**20, room(10 * 2**20) == 2000 * 2**20, room(1e12) == 4 * 2**30
        (True, True, True)
    """
    if most is not None:
        return int(most)
    setting = os.environ.get(SETTING)
    if setting is None:
        return min(MAX_BYTES, max(CARELESS, RATIO * int(packed)))
    try:
        lifted = float(setting)
    except ValueError:
        lifted = math.nan
    if not 0 < lifted < 2**30:
        raise BadInput(f"${SETTING} should be a number of gibibytes, such as 16, got {setting!r}")
    return int(lifted * 2**30)


def advice(allowed: float) -> str:
    """The end of a sentence that refuses a size."""
    return f"more than the {int(allowed)} bytes that are accepted of it; if you trust the file, set {SETTING}=64"


def regular(path: str | Path) -> Path:
    """A path that leads to an ordinary file, so that opening it cannot wait for another program or never end.

    Raises:
        BadInput: when it is a folder, a pipe, a device, or not there.
    """
    found = Path(path)
    try:
        mode = found.stat().st_mode
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "no ordinary file but a pipe, a socket or a device"
        raise BadInput(f"cannot read {path}: it is {kind}; expected a file")
    return found


def size_of(path: str | Path) -> int:
    """Bytes of an ordinary file."""
    return regular(path).stat().st_size
