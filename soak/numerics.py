"""Numbers at their ends: every property of tests/test_numerics_*.py on many more examples, and metrics of large tables.

The properties are those that pytest runs, with new examples instead of the ones that are always the same. Large tables
tell time and peak memory per metric, and that what comes out is finite and lies within its bounds.
"""

import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from uncollapse import metrics
from uncollapse.codes import Codes
from uncollapse.metrics import legacy
from uncollapse.testing.metric import gaussian_codes

TESTS = Path(__file__).parents[1] / "tests"
EXAMPLES = 2000  #: of a property
SHARED = {"remedies": 60, "wrappers": 150}  #: of one remedy or wrapper, where a property is about dozens of them
TALLY = re.compile(r"(\d+) passing(?: examples)?, (\d+) failing")


def properties(quick: bool) -> dict[str, Any]:
    """How many properties there are, how many examples they were tried on, and what failed."""
    found: dict[str, Any] = {}
    for path in sorted(TESTS.glob("test_numerics_*.py")):
        name = path.stem.removeprefix("test_numerics_")
        count = 3 if quick else SHARED.get(name, EXAMPLES)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--hypothesis-show-statistics"]
        # A file's tests may take longer than any of pytest's own limits: there are many examples.
        done = subprocess.run(
            [*command, "--timeout=0", str(path)],
            env={**os.environ, "UNCOLLAPSE_EXAMPLES": str(count)},
            capture_output=True,
            text=True,
            cwd=TESTS.parent,
            check=False,
        )
        parts = re.split(r"\n(?=\S*test_numerics_\S+::)", done.stdout)
        tried = [sum(int(good) + int(bad) for good, bad in TALLY.findall(part)) for part in parts]
        failed = re.findall(r"^FAILED \S+::(\S+)", done.stdout, re.MULTILINE)
        if done.returncode and not failed:
            failed = [(done.stdout + done.stderr)[-500:]]
        found[name] = {
            "properties": sum(map(bool, tried)),
            "examples": sum(tried),
            "failed": failed,
        }
        print(f"{name}: {found[name]}", flush=True)
    return found


def peak() -> float:
    """The largest memory of this process since it was last asked to forget it, MiB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def watched(work: Callable[[], float]) -> dict[str, float]:
    """The value of a metric, seconds of the processor's time, and MiB beyond what was in use before."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    before, start = peak(), time.process_time()
    value = float(work())
    assert math.isfinite(value), "a metric of a large table is not finite"
    return {
        "value": round(value, 4),
        "seconds": round(time.process_time() - start, 1),
        "MiB": round(peak() - before),
    }


def of_codes(codes: Codes, queries: int | None) -> dict[str, Callable[[], float]]:
    """What is measured of one table."""
    some = torch.arange(min(512, len(codes)))
    return {
        "mutual_information, lower": lambda: metrics.mutual_information(codes, queries=queries).lower,
        "mutual_information, upper": lambda: metrics.mutual_information(codes, queries=2).upper,
        "kl": lambda: metrics.kl(codes),
        "kl, per latent": lambda: metrics.kl(codes, queries=queries).information,
        "active_units": lambda: metrics.active_units(codes),
        "information_per_example": lambda: metrics.information_per_example(codes, some).mean(),
        "legacy.batch_mutual_information": lambda: legacy.batch_mutual_information(codes),
    }


def extreme(n: int, latent: int, scale: float) -> Codes:
    """Codes of scales round a chosen one, twins among them."""
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(n, latent, generator=generator)
    mean[1::2] = mean[::2][: n // 2]
    return Codes.from_gaussian(mean, scale * (0.5 + torch.rand(n, latent, generator=generator)))


def large(quick: bool) -> dict[str, Any]:
    """Time and memory of metrics of large tables."""
    n, wide, images = (2000, 256, 500) if quick else (10**6, 4096, 20_000)
    tables = {
        f"N = {n:,}, D = 8, 4 nats": (lambda: gaussian_codes(4.0, n, 8), 512),
        f"N = {n:,}, D = 8, scale 1e-8": (lambda: extreme(n, 8, 1e-8), 512),
        f"N = {n:,}, D = 8, scale 1e4": (lambda: extreme(n, 8, 1e4), 512),
        f"N = 2, D = {wide:,}": (lambda: extreme(2, wide, 1e-8), None),
        f"N = 500, D = {wide:,}, scale 1e-8": (lambda: extreme(500, wide, 1e-8), None),
        f"N = {2 * wide:,}, D = {wide:,}, scale 1": (lambda: extreme(2 * wide, wide, 1.0), 512),
    }
    found: dict[str, Any] = {}
    for name, (make, queries) in tables.items():
        codes = make()
        found[name] = {metric: watched(work) for metric, work in of_codes(codes, queries).items()}
        bracket = found[name]
        assert bracket["mutual_information, lower"]["value"] <= math.log(len(codes)) + 1e-4
        print(f"{name}: {found[name]}", flush=True)
    real, fake = (torch.rand(images, 784, generator=torch.Generator().manual_seed(s)).round() for s in (0, 1))
    found[f"{images:,} binary images against {images:,}"] = {
        "coverage": watched(lambda: metrics.coverage(real, fake)),
        "coverage, one half doubled": watched(lambda: metrics.coverage(real[torch.arange(images) // 2], fake)),
    }
    return found


def run(quick: bool) -> dict[str, Any]:
    """Both parts."""
    tables, tried = large(quick), properties(quick)
    totals = {key: sum(one[key] for one in tried.values()) for key in ("properties", "examples")}
    failed = [name for one in tried.values() for name in one["failed"]]
    assert not failed, f"properties that do not hold: {failed}"
    return {**totals, "failed": failed, "by file": tried, "large tables": tables}
