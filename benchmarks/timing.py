"""Interleaved timing: the parties take turns, so a machine whose speed drifts cannot favour one of them."""

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


def machine():
    """The processor, in words."""
    import torch

    try:
        with Path("/proc/cpuinfo").open() as file:
            model = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor()
    return {"processor": model, "threads": torch.get_num_threads(), "torch": torch.__version__}
