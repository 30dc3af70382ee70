"""What can go wrong, as types: every message says what was expected, what came and what to try.

`BadInput` and its kin are the caller's to mend (exit code 2 on the command line); `WorkFailed`
means that good input met a bad end (exit code 1).
"""

import re

__all__ = [
    "BadInput",
    "Damaged",
    "Interrupted",
    "NonFinite",
    "Outdated",
    "RunConflict",
    "ShapeError",
    "UncollapseError",
    "Unsupported",
    "WorkFailed",
    "said",
    "spelled",
]


CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
MOST = 4000  # characters of a message: names of columns and keys may be of any length


class UncollapseError(Exception):
    r"""Root of every error that this package raises on purpose.

    Messages quote files and names that strangers chose: what would command a terminal, turn the direction of writing
    or cannot be written as UTF-8 is spelled out, and what is very long is cut in the middle.

    Example:
        >>> print(BadInput("no column 'a\x1b[2J'"))
        no column 'a\x1b[2J'
    """

    exit_code = 1

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(plain(one) if isinstance(one, str) else one for one in arguments))


def plain(words: str) -> str:
    """A message that any terminal and file takes."""
    cut = words if len(words) <= MOST else f"{words[: MOST * 3 // 4]} [...] {words[-MOST // 4 :]}"
    return spelled(cut)


def spelled(words: str) -> str:
    r"""Words whose signs that command a terminal, or turn the direction of writing, are spelled out.

    Example:
        >>> print(spelled("\x1b[31mred \u202eder"))
        \x1b[31mred \u202eder
    """
    return CONTROL.sub(lambda sign: sign[0].encode("unicode_escape").decode("ascii"), words)


class BadInput(UncollapseError, ValueError):
    """An argument, a file or a setting is not what was asked for."""

    exit_code = 2


class ShapeError(UncollapseError, ValueError):
    """A tensor has the wrong shape or type."""

    exit_code = 2


class Unsupported(UncollapseError, NotImplementedError):
    """The operation has no right answer for this model; nothing is computed instead of a wrong number."""

    exit_code = 2


class WorkFailed(UncollapseError, RuntimeError):
    """The work itself failed: a full disk, a killed worker, a damaged file."""


class Damaged(WorkFailed):
    """A file is cut short, or was changed after it was written."""


class Outdated(WorkFailed):
    """This version of the package is too old for a file."""


class Interrupted(UncollapseError):
    """Somebody pressed Ctrl-C; what was done is kept."""

    exit_code = 130


class NonFinite(UncollapseError, ArithmeticError):
    """A term of the loss became NaN or infinite."""


class RunConflict(UncollapseError, RuntimeError):
    """A run folder belongs to other settings."""

    exit_code = 2


def said(error: BaseException) -> str:
    """What an error of another library says, in one line of at most 300 characters; its type where it says nothing.

    Example:
        >>> said(OSError(2, "No such file")), said(KeyError()), len(said(ValueError("x" * 1000)))
        ('No such file', 'KeyError', 300)
    """
    words = getattr(error, "strerror", None) or str(error)
    line = next((line.strip() for line in str(words).splitlines() if line.strip()), type(error).__name__)
    return line if len(line) <= 300 else f"{line[:295]}[...]"
