"""The process that fuzzes one reader for a while: `python -m fuzz.child READER FINDINGS [libFuzzer's arguments]`.

Instruments the package's readers and the parsers in Python that they rest on. What goes wrong is written to FINDINGS,
once for each place, and the fuzzer goes on; what kills the process (a crash in C, memory) is kept by libFuzzer.
"""

import ctypes
import hashlib
import json
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import atheris

TRACED = [
    "uncollapse.data",
    "uncollapse.store",
    "uncollapse.hdf5",
    "uncollapse.study.config",
    "uncollapse.report.load",
    "zipfile",
    "gzip",
    "_compression",
    "pickle",
    "PIL",
    "numpy.lib._format_impl",
    "yaml",
]


def prepare(name: str) -> "Reader":  # type: ignore[name-defined]  # noqa: F821
    """The reader, with everything imported that it will need."""
    with atheris.instrument_imports(include=TRACED, enable_loader_override=False):
        import uncollapse.data.catalogue
        import uncollapse.hdf5
        import uncollapse.report.load
        import uncollapse.store
        import uncollapse.study.config  # noqa: F401
        from fuzz.attempt import scratch, warm
        from fuzz.readers import READERS

        reader = READERS[name]
        with scratch() as folder:
            warm(reader, folder)
    return reader


def quiet(name: str) -> None:
    """One thread, and memory from the system's own allocator, so that limits mean what they say."""
    import torch

    torch.set_num_threads(1)
    if name == "parquet":
        import pyarrow as pa

        pa.set_cpu_count(1)
        pa.set_io_thread_count(1)


def keeper(findings: Path) -> Callable[[bytes, str, str], None]:
    """Writes an input and what it did, the shortest for each place."""
    findings.mkdir(parents=True, exist_ok=True)

    def keep(data: bytes, key: str, words: str) -> None:
        path = findings / hashlib.sha256(key.encode()).hexdigest()[:12]
        known = path.with_suffix(".bin")
        if known.exists() and known.stat().st_size <= len(data):
            return
        known.write_bytes(data)
        path.with_suffix(".json").write_text(json.dumps({"key": key, "words": words}, indent=1), encoding="utf-8")
        print(f"FINDING {key}", flush=True)

    return keep


def launcher(name: str, findings: str) -> str:
    """A program that starts this one anew, as libFuzzer does when it merges."""
    path = Path(findings) / "again.sh"
    command = shlex.join([sys.executable, "-m", "fuzz.child", name, findings])
    path.write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
    path.chmod(0o700)
    return str(path)


def main() -> None:
    """Fuzz until libFuzzer's own limits end it."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # die with the process that counts the figures
    name, findings, *rest = sys.argv[1:]
    reader = prepare(name)
    quiet(name)
    from fuzz.attempt import attempt, limit_memory, scratch

    keep, mutate = keeper(Path(findings)), reader.mutate
    with scratch() as folder:

        def one(data: bytes) -> None:
            found = attempt(reader, data, folder)
            if found is not None:
                keep(data, found.key, found.words)

        def change(data: bytes, most: int, seed: int) -> bytes:
            try:
                return mutate(data, most, seed, atheris.Mutate)[:most] if mutate else atheris.Mutate(data, most)
            except Exception:  # atheris would print it, go on, and wait for itself forever
                return atheris.Mutate(data, most)

        settings = {"custom_mutator": change} if mutate else {}
        atheris.Setup([launcher(name, findings), *rest], one, **settings)
        limit_memory()
        atheris.Fuzz()


if __name__ == "__main__":
    main()
