"""Files that are never half written: atomic JSON and tensors, and a log of one JSON object a line.

Everything is written beside its place and renamed, so a reader sees the old file or the new one (`uncollapse.drafts`).
Weights are safetensors; no pickle is ever written or read. What a damaged disk or a stranger changes is found: tensors
carry a SHA-256 of all that they hold, results one of all but their times.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uncollapse.drafts import drafted_file
from uncollapse.errors import Damaged, Outdated, Unsupported, WorkFailed
from uncollapse.log import Log, progress_of

if TYPE_CHECKING:  # torch takes a second to load, and who reads a result needs none
    from torch import Tensor

__all__ = [
    "GENERATIONS", "Log", "check_format", "json_text", "load_tensors", "progress_of", "read_json", "read_sealed",
    "replacing", "save_tensors", "sealed", "set_aside", "write_json", "write_text",
]  # fmt: skip

FORMAT = 2  #: of files of tensors; 1 had no digest
GENERATIONS = ("checkpoint.safetensors", "checkpoint.previous.safetensors")  #: the newest first
SEAL = "sha256"  #: where a result keeps the digest of itself
HEX = re.compile("[0-9a-f]{64}")
UNSEALED = ("seconds", SEAL)  #: what the digest leaves out, at the end of the file: what differs each time, and itself


@contextmanager
def replacing(path: Path, keep: Path | None = None, lasting: bool = True) -> Iterator[Path]:
    """A temporary path that takes the place of `path` when the block ends well, and vanishes when it does not.

    Arguments:
        path: the file.
        keep: the name under which the old file is kept, if there is one.
        lasting: whether it has to outlive a power cut.

    Raises:
        WorkFailed: when the disk is full, read-only or otherwise unwilling.
    """
    try:
        with drafted_file(path, keep, lasting) as temporary:
            yield temporary
    except OSError as error:
        raise WorkFailed(
            f"cannot write {path}: {error.strerror or error}; nothing there was changed, "
            "free some space or choose another folder"
        ) from error


def write_text(path: Path, text: str, lasting: bool = True) -> None:
    """Write a text file atomically."""
    with replacing(path, lasting=lasting) as temporary:
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
        WorkFailed: when it is missing or cannot be read.
        Damaged: when it is no JSON.
    """
    return parsed_json(path)[1]


def parsed_json(path: Path) -> tuple[str, Any]:
    """The text of a JSON file, and what it says."""
    try:
        text = path.read_text(encoding="utf-8")
        return text, json.loads(text)
    except OSError as error:
        raise WorkFailed(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # no text, no JSON, an absurd number, an absurd depth
        raise Damaged(f"{path} is damaged ({error}); move it away and run again") from error


def check_format(path: Path, found: Any, known: int, writer: Any = None) -> None:
    """Refuse a file that a newer version of the package wrote, and one whose format is no number.

    Arguments:
        path: of the file.
        found: the format that it names.
        known: the newest format that this version reads.
        writer: the version of the package that the file names.

    Raises:
        Outdated, Damaged: with what to do about it.
    """
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise Damaged(f"{path} should name its format, a number from 1 to {known}, got {found!r}; it is damaged")
    if found > known:
        raise Outdated(
            f"{path} has format {found} and was written by uncollapse {writer or 'of a newer version'}; this is "
            f"uncollapse {version('uncollapse')}, which reads formats up to {known}: update it"
        )


def set_aside(path: Path) -> Path:
    """Move a damaged file out of the way, to a name that is free, so that nothing is lost that somebody may want.

    Raises:
        WorkFailed: when the folder cannot be written.
    """
    names = (path.with_name(f"{path.name}.damaged{number or ''}") for number in count())
    aside = next(name for name in names if not name.exists())
    try:
        path.rename(aside)
    except FileNotFoundError:  # another process was faster
        return aside
    except OSError as error:
        raise WorkFailed(f"{path} is damaged and cannot be moved out of the way: {error.strerror or error}") from error
    return aside


def sealed(value: dict[str, Any]) -> dict[str, Any]:
    """The value with a digest of itself at its end, by which `read_sealed` sees a changed byte; times do not count.

    Two results with one digest are the same bits.

    Example:
        >>> one = sealed({"seconds": 3, "nll": 1.5})
        >>> list(one), one["sha256"] == sealed({"nll": 1.5})["sha256"] != sealed({"nll": 1.25})["sha256"]
        (['nll', 'seconds', 'sha256'], True)
    """
    value = json.loads(json.dumps(value))  # as it will be read back
    kept = {key: one for key, one in value.items() if key not in UNSEALED}
    return {**kept, **{key: value[key] for key in UNSEALED[:-1] if key in value}, SEAL: seal_of(kept)}


def read_sealed(path: Path) -> Any:
    """Read a JSON file and look whether it is as it was sealed; one of an older version without a seal passes.

    Raises:
        WorkFailed: when it is missing or cannot be read.
        Damaged: when it is no JSON, or was changed.
    """
    text, value = parsed_json(path)
    if isinstance(value, dict) and any(HEX.fullmatch(str(one)) for key, one in value.items() if key != SEAL):
        raise Damaged(f"{path} was changed after it was written: the name of its SHA-256 is another")
    if isinstance(value, dict) and SEAL in value:
        head = text.rpartition(f',\n "{UNSEALED[0]}": ' if UNSEALED[0] in value else f',\n "{SEAL}": ')[0]
        same = hashlib.sha256(head.encode()).hexdigest() == value[SEAL]  # fast, where nobody has written it anew
        if not same and seal_of({key: one for key, one in value.items() if key not in UNSEALED}) != value[SEAL]:
            raise Damaged(f"{path} was changed after it was written: its content is not that of its SHA-256")
    return value


def seal_of(value: dict[str, Any]) -> str:
    """Digest of a value without times, as it is written."""
    return hashlib.sha256(json.dumps(value, indent=1).removesuffix("\n}").encode()).hexdigest()


def save_tensors(path: Path, tensors: "dict[str, Tensor]", state: dict[str, Any], keep: Path | None = None) -> None:
    """Write tensors and a small JSON state as one safetensors file with a digest of everything, atomically.

    Arguments:
        path: the file.
        tensors: by name; they may share memory.
        state: what JSON can hold.
        keep: the name under which the old file is kept, if there is one.

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
    head: dict[str, Any] = {"format": FORMAT, "version": version("uncollapse"), "state": state}
    with replacing(path, keep) as temporary:
        try:  # one entry: several would come in any order, and the same content would not be the same bytes
            save_file(own, temporary, metadata={"uncollapse": json.dumps({**head, SEAL: digest(own, head)})})
        except SafetensorError as error:
            raise OSError(str(error)) from error


def load_tensors(path: Path) -> "tuple[dict[str, Tensor], dict[str, Any]]":
    """Read what `save_tensors` wrote.

    Raises:
        WorkFailed: when the file is missing or cannot be read.
        Damaged: when it is cut short, or a byte of it was changed.
        Outdated: when a newer version wrote it.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
            about = file.metadata() or {}
        if len(about) != 1 or not about.keys() <= {"uncollapse", "state"}:
            raise ValueError("its header is not one of this package")
        head = json.loads(about["uncollapse"]) if "uncollapse" in about else None
        state = json.loads(about["state"]) if head is None else head.get("state")
    except OSError as error:
        raise WorkFailed(f"cannot read the weights in {path}: {error.strerror or error}") from error
    except (SafetensorError, ValueError, RecursionError, AttributeError) as error:
        raise Damaged(f"the weights in {path} are damaged ({error}); move the file away to start afresh") from error
    if head is not None:
        check_format(path, head.get("format"), FORMAT, head.get("version"))
        if head.pop(SEAL, None) != digest(tensors, head):
            raise Damaged(f"the weights in {path} are damaged (their SHA-256 is another); move the file away")
    if not isinstance(state, dict):
        raise Damaged(f"the weights in {path} are damaged (their state is a {type(state).__name__})")
    return tensors, state


def digest(tensors: "dict[str, Tensor]", head: dict[str, Any]) -> str:
    """SHA-256 of names, types, shapes and bytes of tensors, and of what the header says."""
    import torch

    found = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        found.update(repr((name, str(value.dtype), tuple(value.shape))).encode())
        found.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
