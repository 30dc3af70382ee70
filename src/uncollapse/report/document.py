"""What every page shares: the template engine, the styles, and writing that leaves no half a file behind."""

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uncollapse.drafts import drafted_file
from uncollapse.errors import WorkFailed, spelled
from uncollapse.report.load import number
from uncollapse.report.table import show

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["TEMPLATES", "asset", "duration", "environment", "fingerprint", "write_page"]

TEMPLATES = Path(__file__).parent / "templates"


def asset(name: str) -> str:
    """A style sheet or script that a page carries inside itself."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


def fingerprint(script: str) -> str:
    """What a content security policy calls a script, so that a browser runs this one and no other.

    Example:
        >>> fingerprint("")
        'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='
    """
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


def environment() -> "Environment":
    """Templates that escape everything and refuse a name that is not there."""
    import jinja2
    import markupsafe

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(show=show, safe=markupsafe.Markup, number=number, duration=duration)
    return made


def visible(value: Any) -> Any:
    r"""What a template writes, with signs spelled out that would turn the direction of all that follows.

    Example:
        >>> print(visible("a\u202eb"), visible(1.5))
        a\u202eb 1.5
    """
    return type(value)(spelled(value)) if isinstance(value, str) and spelled(value) != value else value


def duration(seconds: float | None) -> str:
    """Seconds for people.

    Example:
        >>> duration(5.25), duration(125), duration(7320)
        ('5.2 s', '2 min 05 s', '2 h 02 min')
    """
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def write_page(text: str, path: str | Path) -> Path:
    """Write a page whole or not at all: under a temporary name, then renamed.

    Raises:
        WorkFailed: when the disk is full or may not be written.
    """
    path, content = Path(path), text.encode("utf-8", errors="replace")
    try:
        with drafted_file(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise WorkFailed(
            f"expected to write the page of {len(content) / 1e6:.1f} MB to {path}, but {error.strerror or error}; "
            "free some space or choose another path"
        ) from error
    return path
