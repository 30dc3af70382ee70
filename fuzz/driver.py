"""Rounds of fuzzing, their figures, and the corpus that is kept."""

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fuzz.readers import READERS

__all__ = [
    "HERE",
    "RESULTS",
    "ROUND",
    "claimed",
    "findings_of",
    "kept",
    "merge",
    "one_round",
    "rounds",
    "seconds_of",
    "settle",
]

HERE = Path(__file__).resolve().parent
RESULTS, WORK = HERE / "results.json", HERE / "work"
LARGEST = 2**16  # bytes of a kept file
ROUND = 300  # seconds of a round by the clock; a busy machine gives less of the processor
SHORTEST = 20
PACKAGES = ("atheris", "numpy", "torch", "pyarrow", "pillow", "h5py", "pyyaml", "safetensors")
EMPTY: dict[str, Any] = {"cpu_seconds": 0.0, "executions": 0, "edges": 0, "mended": {}}
LIMITS = ("-rss_limit_mb=4000", "-timeout=400", "-print_final_stats=1", "-reload=0")


def kept(reader: str) -> Path:
    """The folder of the corpus that is part of the repository."""
    return HERE / "corpus" / reader


def rounds(reader: str, minutes: float) -> None:
    """Fuzz until this many minutes of the processor have been spent, in rounds whose figures are kept at once."""
    left = minutes * 60
    while left > 0:
        left -= one_round(reader, min(ROUND, max(left, SHORTEST)))


def one_round(reader: str, seconds: float) -> float:
    """One round, and the seconds of the processor that it took."""
    live = prepared(reader)
    before = spent()
    limits = (f"-max_total_time={round(seconds)}", f"-max_len={READERS[reader].longest}", f"-artifact_prefix={live}/")
    ran = child(reader, *limits, str(live / "corpus"))
    taken = spent() - before
    keep_figures(reader, taken, figures(ran.stderr), ran.returncode)
    return taken


def prepared(reader: str) -> Path:
    """The working folder, with the kept corpus and the seeds in it."""
    live = WORK / reader
    corpus = live / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for name, data in READERS[reader].seeds().items():
        (corpus / f"seed-{name}").write_bytes(data)
    for path in kept(reader).glob("*"):
        shutil.copyfile(path, corpus / path.name)
    return live


def child(reader: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The fuzzing process; what it says goes on to the terminal, in short."""
    settings = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "ARROW_DEFAULT_MEMORY_POOL": "system"}
    command = [sys.executable, "-m", "fuzz.child", reader, str(WORK / reader / "findings"), *LIMITS, *arguments]
    environment = os.environ | settings
    ran = subprocess.run(
        command, check=False, capture_output=True, text=True, errors="replace", cwd=HERE.parent, env=environment
    )
    (WORK / reader / "last.log").write_text(ran.stderr[-20_000:], encoding="utf-8")
    for line in ran.stdout.splitlines():
        if line.startswith("FINDING"):
            print(f"{reader}: {line}", flush=True)
    return ran


def spent() -> float:
    """Seconds of the processor that child processes have taken so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def figures(words: str) -> dict[str, int]:
    """Executions and edges from what libFuzzer printed."""
    runs = re.search(r"stat::number_of_executed_units:\s*(\d+)", words)
    last = re.findall(r"^#(\d+)\s.*?cov: (\d+)", words, re.MULTILINE)
    return {
        "executions": int(runs[1]) if runs else int(last[-1][0]) if last else 0,
        "edges": max((int(edges) for _, edges in last), default=0),
    }


@contextlib.contextmanager
def locked() -> Iterator[dict[str, Any]]:
    """The figures so far, to be changed; written whole or not at all."""
    WORK.mkdir(exist_ok=True)
    with (WORK / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"readers": {}}
        yield found
        draft = RESULTS.with_suffix(".part")
        draft.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        draft.replace(RESULTS)


@contextlib.contextmanager
def claimed(reader: str) -> Iterator[bool]:
    """Whether this process has the reader for itself while the block lasts."""
    (WORK / reader).mkdir(parents=True, exist_ok=True)
    with (WORK / f"{reader}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def keep_figures(reader: str, taken: float, found: dict[str, int], status: int) -> None:
    """Add a round to the figures."""
    with locked() as whole:
        one = whole["readers"].setdefault(reader, dict(EMPTY))
        one["cpu_seconds"] = round(one["cpu_seconds"] + taken, 1)
        one["executions"] += found["executions"]
        one["edges"] = max(one["edges"], found["edges"])
        one["corpus"] = len(list(kept(reader).glob("*")))
        one["open"] = sorted(findings_of(reader)) + died(reader)
        one["date"] = datetime.now(UTC).date().isoformat()
        whole["versions"] = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    print(
        f"{reader}: {taken:.0f} s of the processor, {found['executions']} runs, {found['edges']} edges, "
        f"status {status}, open: {one['open']}",
        flush=True,
    )


def findings_of(reader: str) -> dict[str, bytes]:
    """Findings that are not mended, by what they are, with the inputs."""
    folder = WORK / reader / "findings"
    out = {}
    for path in sorted(folder.glob("*.json")):
        out[json.loads(path.read_text(encoding="utf-8"))["key"]] = path.with_suffix(".bin").read_bytes()
    return out


def settle(reader: str) -> None:
    """Try what was found again; what is mended joins the kept corpus, and its name the figures."""
    live, mended = WORK / reader, {}
    for path in [
        *sorted((live / "findings").glob("*.bin")),
        *(one for one in sorted(live.glob("*-*")) if one.is_file()),
    ]:
        ran = subprocess.run([sys.executable, "-m", "fuzz", reader, "--one", str(path)], check=False, cwd=HERE.parent)
        if ran.returncode:
            continue
        told = path.with_suffix(".json")
        key = json.loads(told.read_text(encoding="utf-8"))["key"] if told.exists() else path.name.split("-")[0]
        mended[key] = f"found-{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
        kept(reader).mkdir(parents=True, exist_ok=True)
        path.replace(kept(reader) / mended[key])
        told.unlink(missing_ok=True)
    with locked() as whole:
        one = whole["readers"].setdefault(reader, dict(EMPTY))
        one["mended"] = {**one["mended"], **mended}
        one["open"] = sorted(findings_of(reader)) + died(reader)


def died(reader: str) -> list[str]:
    """Inputs on which the process died, as libFuzzer keeps them."""
    return sorted(path.name for path in (WORK / reader).glob("*-*") if path.is_file())


def seconds_of(reader: str) -> float:
    """Seconds of the processor so far."""
    if not RESULTS.exists():
        return 0.0
    found = json.loads(RESULTS.read_text(encoding="utf-8"))["readers"].get(reader, {})
    return float(found.get("cpu_seconds", 0.0))


def merge(reader: str) -> int:
    """Make the kept corpus anew: the fewest small inputs that reach all that is reached; how many there are."""
    live = prepared(reader)
    draft = Path(tempfile.mkdtemp(prefix="merge-", dir=live))
    small = draft / "small"
    small.mkdir()
    for path in (live / "corpus").iterdir():
        if path.stat().st_size <= LARGEST:
            shutil.copyfile(path, small / path.name)
    out = draft / "out"
    out.mkdir()
    ran = child(reader, "-merge=1", str(out), str(small))
    if ran.returncode == 0 and any(out.iterdir()):
        own = kept(reader)
        own.mkdir(parents=True, exist_ok=True)
        for path in own.glob("*"):
            if not path.name.startswith("found-"):  # inputs that once were findings stay
                path.unlink()
        for path in out.iterdir():
            path.replace(own / path.name)
    shutil.rmtree(draft)
    with locked() as whole:
        if reader in whole["readers"]:
            whole["readers"][reader]["corpus"] = len(list(kept(reader).glob("*")))
    return len(list(kept(reader).glob("*")))
