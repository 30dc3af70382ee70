"""Whole-set mutual information against the broadcast form, and density and coverage against prdc: time and memory.

The broadcast form is the N x N x D tensor of the reference code of He et al. 2019 (`calc_mi`), on the whole set in
float32, where it loses digits; ours computes in float64, with both bounds. prdc is the package of Naeem et al. 2020.
Every party is held to one core: prdc would take eight threads. Memory is what the peak of a fresh process grows by
during the call.
"""

import contextlib
import io
import json
import math
import os
import resource
import subprocess
import sys
from pathlib import Path

from benchmarks.timing import interleaved, ratio

N, LATENT, PIXELS = 4000, 32, 64


def codes(n=N):
    import torch

    from uncollapse import Codes

    torch.manual_seed(1)
    return Codes.from_gaussian(0.8 * torch.randn(n, LATENT), torch.full((n, LATENT), 0.6))


def whole_set(n=N):
    from uncollapse.metrics import mutual_information

    table = codes(n)
    return lambda: mutual_information(table)


def broadcast(n=N):
    import torch

    table = codes(n)
    mean, log_variance, z = table.mean[None], 2 * table.scale.log()[None], table.sample[:, None]

    def run():
        gap = z - mean
        log_density = -0.5 * ((gap**2) / log_variance.exp()).sum(-1)
        log_density = log_density - 0.5 * (LATENT * math.log(2 * math.pi) + log_variance.sum(-1))
        entropy = -0.5 * LATENT * math.log(2 * math.pi) - 0.5 * (1 + log_variance).sum(-1).mean()
        return entropy - (torch.logsumexp(log_density, 1) - math.log(len(z))).mean()

    return run


def images(n=N, binary=True):
    """Two sets of pictures of digits' size, as bytes 0 and 1 or as real numbers."""
    import torch

    generator = torch.Generator().manual_seed(0)
    sets = torch.rand(2, n, PIXELS, generator=generator, dtype=torch.float64)
    return (sets < 0.3).double() if binary else sets


def ours(n=N, binary=True):
    from uncollapse.metrics import density_coverage

    real, fake = images(n, binary)
    return lambda: density_coverage(real, fake)


def theirs(n=N, binary=True):
    from prdc import compute_prdc

    real, fake = images(n, binary).numpy()

    def run():
        with contextlib.redirect_stdout(io.StringIO()):
            return compute_prdc(real, fake, 5)

    return run


PARTIES = {"whole set": whole_set, "broadcast": broadcast, "density_coverage": ours, "prdc": theirs}


def growth(name, n):
    """MiB by which the peak of this process grows in a call, after a small one that loads what has to be loaded."""
    PARTIES[name](100)()
    call = PARTIES[name](n)
    before = peak()
    call()
    return (peak() - before) / 1024


def peak():
    """The largest resident size of this process so far, KiB; `ru_maxrss` would start from the parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)


def memory(above, below, goal, n):
    """The ratio of two parties' memory, each measured in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.metrics"]
    root = Path(__file__).parents[1]
    mib = {}
    for name in (above, below):
        done = subprocess.run([*command, name, str(n)], cwd=root, capture_output=True, text=True, check=True)
        mib[name] = max(1.0, json.loads(done.stdout))
    value = round(mib[above] / mib[below], 1)
    return {"ratio": value, "min": value, "max": value, "goal": goal, "rounds": 1, "MiB": mib}


@contextlib.contextmanager
def one_core():
    """This process and its threads on one core, where the system allows it."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def run(quick=False):
    """Figures by name; in the quick form with 1,000 examples, which says nothing about the goals."""
    n, rounds = (1000, 2) if quick else (N, 7)
    figures = {}
    with one_core():
        times = interleaved({"broadcast": broadcast(n), "whole set": whole_set(n)}, rounds)
        figures["time: broadcast / whole-set mutual information"] = ratio(times, "broadcast", "whole set", ">= 70")
        for kind, binary in (("binary", True), ("real-valued", False)):
            times = interleaved({"prdc": theirs(n, binary), "density_coverage": ours(n, binary)}, rounds)
            found = ratio(times, "prdc", "density_coverage", ">= 4")
            figures[f"time: prdc / density_coverage, {kind} 8x8 images"] = found
    figures["memory: broadcast / whole-set mutual information"] = memory("broadcast", "whole set", "> 1", n)
    figures["memory: prdc / density_coverage"] = memory("prdc", "density_coverage", "> 1", n)
    return figures


if __name__ == "__main__":
    print(json.dumps(growth(sys.argv[1], int(sys.argv[2]))))
