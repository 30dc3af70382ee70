"""What somebody's network or loader says when it refuses."""

from uncollapse.errors import UncollapseError

__all__ = ["reason"]


def reason(error: BaseException) -> str:
    """The first line of what an exception says, with its type where it is not one of ours."""
    lines = str(error).strip().splitlines()
    if isinstance(error, UncollapseError) and lines:
        return lines[0].rstrip(".")
    return f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__
