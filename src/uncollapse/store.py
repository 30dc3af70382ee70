"""Files that are never half written: atomic JSON and tensors, and a log of one JSON object a line.

Everything goes to a temporary name in the same folder and is renamed, so a reader sees the old file or the
new one. Weights are safetensors; no pickle is ever written or read.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uncollapse.errors import Unsupported, WorkFailed

if TYPE_CHECKING:  # torch takes a second to load, and who reads a result needs none
    from torch import Tensor

__all__ = ["Log", "json_text", "load_tensors", "progress_of", "read_json", "save_tensors", "write_json", "write_text"]

TAIL = 8192  #: bytes at the end of a log that are read to see how far a run is


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path that takes the place of `path` when the block ends well, and vanishes when it does not.

    Raises:
        WorkFailed: when the disk is full, read-only or otherwise unwilling.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        mode = 0o666 & ~umask()
        temporary.chmod(mode)
        temporary.replace(path)
    except OSError as error:
        raise WorkFailed(
            f"cannot write {path}: {error.strerror or error}; nothing there was changed, "
            "free some space or choose another folder"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def umask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically; NaN is refused, because other readers refuse it too."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """A value as the text of a JSON file."""
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        WorkFailed: when it is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise WorkFailed(f"cannot read {path}: {error}") from error
    except json.JSONDecodeError as error:
        raise WorkFailed(f"{path} is damaged ({error}); delete it and run again") from error


def save_tensors(path: Path, tensors: "dict[str, Tensor]", state: dict[str, Any]) -> None:
    """Write tensors and a small JSON state as one safetensors file, atomically.

    Raises:
        Unsupported: when a value is not a tensor.
        WorkFailed: when the disk does not take it.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file
    from torch import Tensor

    odd = [name for name, value in tensors.items() if not isinstance(value, Tensor)]
    if odd:
        raise Unsupported(f"a checkpoint holds tensors only, but {odd[0]} is not one; keep it in a buffer")
    own = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    with replacing(path) as temporary:
        try:
            save_file(own, temporary, metadata={"state": json.dumps(state)})
        except SafetensorError as error:
            raise OSError(str(error)) from error


def load_tensors(path: Path) -> "tuple[dict[str, Tensor], dict[str, Any]]":
    """Read what `save_tensors` wrote.

    Raises:
        WorkFailed: when the file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
            return tensors, json.loads((file.metadata() or {}).get("state", "{}"))
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise WorkFailed(f"cannot read the weights in {path}: {error}; delete the file to start afresh") from error


class Log:
    """A file of one JSON object a line, flushed at every line; without a path it forgets everything."""

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def append(self, **record: Any) -> None:
        """Add one line."""
        if self.path is None:
            return
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise WorkFailed(f"cannot write {self.path}: {error.strerror or error}") from error

    def records(self) -> list[dict[str, Any]]:
        """All whole lines; a last line cut short by a kill is left out."""
        if self.path is None or not self.path.exists():
            return []
        out = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                out.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return out

    def rewind(self, step: int) -> None:
        """Drop every line after `step`: a resumed run writes them again."""
        if self.path is not None and self.path.exists():
            kept = [record for record in self.records() if record.get("step", 0) <= step]
            write_text(self.path, "".join(json.dumps(record) + "\n" for record in kept))


def progress_of(folder: Path) -> dict[str, Any]:
    """How far the run in a folder is: the end of its log, newer values over older ones; or an empty dict."""
    try:
        with (folder / "log.jsonl").open("rb") as file:
            file.seek(0, 2)
            file.seek(max(file.tell() - TAIL, 0))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return {}
    found: dict[str, Any] = {}
    for line in lines:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(record, dict):
            found.update(record)
    return found
