"""Interleaved timing: the parties take turns, so a machine whose speed drifts cannot favour one of them."""

import contextlib
import os
import platform
import statistics
import time
from pathlib import Path


def interleaved(parties, rounds):
    """Seconds of each party's call, by name, `rounds` times in turn, after one round that is not counted."""
    for call in parties.values():
        call()
    times = {name: [] for name in parties}
    for number in range(rounds):
        names = list(parties) if number % 2 else list(reversed(parties))
        for name in names:
            start = time.perf_counter()
            parties[name]()
            times[name].append(time.perf_counter() - start)
    return times


def ratio(times, above, below, goal):
    """The ratio of two parties pair by pair: median, minimum and maximum, with the goal it is held against."""
    ratios = [a / b for a, b in zip(times[above], times[below], strict=True)]
    return {
        "ratio": round(statistics.median(ratios), 3),
        "min": round(min(ratios), 3),
        "max": round(max(ratios), 3),
        "goal": goal,
        "rounds": len(ratios),
        "seconds": {name: round(statistics.median(times[name]), 5) for name in (above, below)},
    }


def limit(values, most, unit="s"):
    """Absolute values (seconds or MiB, one a round) against the most that was allowed, as a share of it."""
    shares = [value / most for value in values]
    return {
        "ratio": round(statistics.median(shares), 3),
        "min": round(min(shares), 3),
        "max": round(max(shares), 3),
        "goal": f"<= 1 (of {most:g} {unit})",
        "rounds": len(values),
        unit: round(statistics.median(values), 4),
    }


@contextlib.contextmanager
def threads(count):
    """So many threads for torch, for the time being."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def gemm_rate(shape=(1024, 1024, 1024), dtype=None, rounds=9):
    """FLOP/s of a matrix product (m, k) x (k, n) here and now, at the present number of threads: the best of some."""
    import torch

    m, k, n = shape
    a, b = torch.rand(m, k).to(dtype or torch.float32), torch.rand(k, n).to(dtype or torch.float32)
    out = torch.empty(m, n, dtype=a.dtype)
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        seconds.append(time.perf_counter() - start)
    return 2 * m * k * n / min(seconds)


def copy_rate(mib=256, rounds=5):
    """Bytes/s read and written by a copy in memory, at the present number of threads: the best of some."""
    import torch

    source = torch.zeros(mib * 2**20, dtype=torch.uint8)
    target = torch.empty_like(source)
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        target.copy_(source)
        seconds.append(time.perf_counter() - start)
    return 2 * mib * 2**20 / min(seconds)


def machine(gpu=False):
    """Processor, cores that may be used, threads of torch, its version, memory; of a GPU its name too."""
    import torch

    try:
        with Path("/proc/cpuinfo").open() as file:
            model = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor()
    found = {"processor": model, "cores": cores(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    with contextlib.suppress(AttributeError, ValueError, OSError):  # not every platform tells
        found["memory"] = f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"
    return {"gpu": torch.cuda.get_device_name()} | found if gpu else found


def cores():
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
