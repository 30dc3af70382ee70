"""What a run leaves and another person may send: study files, results and weights."""

import json
import struct
from pathlib import Path
from typing import Any

from fuzz.attempt import Reader

__all__ = ["READERS"]


def run_study(data: bytes, folder: Path) -> Any:
    """A study file, or the configuration of one run."""
    from uncollapse.study.config import load_run, load_study

    path = folder / "study.yaml"
    path.write_bytes(data)
    return load_run(path) if len(data) % 4 == 0 else load_study(path)


def seeds_study() -> dict[str, bytes]:
    """The studies that come with the package, and a bomb."""
    from importlib.resources import files

    out = {}
    for one in files("uncollapse.studies").iterdir():
        if one.name.endswith(".yaml"):
            out[one.name] = one.read_bytes()
    bomb = "a: &a [x, x]\n" + "".join(f"{n}: &{n} [*{m}, *{m}]\n" for m, n in zip("abcdef", "bcdefg", strict=True))
    return out | {"bomb": bomb.encode(), "twice": b"name: a\nname: b\n", "run": b"data: digits\nseed: 1\n"}


def run_result(data: bytes, folder: Path) -> Any:
    """A result of a study."""
    from uncollapse.report.load import load_results

    path = folder / "0123" / "result.json"
    path.parent.mkdir()
    path.write_bytes(data)
    return load_results(folder)


def seeds_result() -> dict[str, bytes]:
    """Small results."""
    metrics = {"nll": {"value": 1.0, "se": 0.1}}
    verdict = {"word": "healthy"}
    result = {"format": 1, "hash": "0123", "arm": "plain", "seed": 0, "metrics": metrics, "verdict": verdict}
    return {"small": json.dumps(result).encode(), "odd": b'{"format": 1, "run": [NaN, 1e999, "\\ud800"]}'}


def run_weights(data: bytes, folder: Path) -> Any:
    """A safetensors file."""
    from uncollapse.store import load_tensors

    path = folder / "weights.safetensors"
    path.write_bytes(data)
    return load_tensors(path)


def tensors(header: Any, body: bytes = b"", length: int | None = None) -> bytes:
    """A file in that format."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + body


def seeds_weights() -> dict[str, bytes]:
    """Sound files, and headers that lie."""
    four = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
    other = {"dtype": "I64", "shape": [1], "data_offsets": [16, 24]}
    name = b'{"w": %s, "w": %s}' % (json.dumps(four).encode(), json.dumps(four).encode())
    return {
        "sound": tensors({"w": four, "n": other, "__metadata__": {"state": "{}"}}, bytes(24)),
        "empty": tensors({}),
        "huge": tensors({}, length=2**63),
        "overlap": tensors({"w": four, "v": {**four, "data_offsets": [8, 24]}}, bytes(24)),
        "shape": tensors({"w": {**four, "shape": [2**40, 2**40]}}, bytes(16)),
        "kind": tensors({"w": {**four, "dtype": "Q7"}}, bytes(16)),
        "half": tensors({"w": {**four, "dtype": "F8_E4M3", "shape": [16]}}, bytes(16)),
        "twice": tensors(name, bytes(16)),
        "state": tensors({"w": four, "__metadata__": {"state": "["}}, bytes(16)),
    }


READERS = (
    Reader("study", run_study, seeds_study, None, 8192),
    Reader("result", run_result, seeds_result, None, 4096),
    Reader("weights", run_weights, seeds_weights, None, 2048),
)
