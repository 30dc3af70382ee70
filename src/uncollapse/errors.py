"""What can go wrong, as types: every message says what was expected, what came and what to try.

`BadInput` and its kin are the caller's to mend (exit code 2 on the command line); `WorkFailed`
means that good input met a bad end (exit code 1).
"""

__all__ = [
    "BadInput",
    "Interrupted",
    "NonFinite",
    "RunConflict",
    "ShapeError",
    "UncollapseError",
    "Unsupported",
    "WorkFailed",
]


class UncollapseError(Exception):
    """Root of every error that this package raises on purpose."""

    exit_code = 1


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


class Interrupted(UncollapseError):
    """Somebody pressed Ctrl-C; what was done is kept."""

    exit_code = 130


class NonFinite(UncollapseError, ArithmeticError):
    """A term of the loss became NaN or infinite."""


class RunConflict(UncollapseError, RuntimeError):
    """A run folder belongs to other settings."""

    exit_code = 2
