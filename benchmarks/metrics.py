"""Whole-set mutual information against the broadcast form, and density and coverage against prdc: time and memory.

The broadcast form is the N x N x D tensor of the reference code of He et al. 2019 (`calc_mi`), on the whole set in
float32, where it loses digits; ours is exact to 1e-4 nats a code, with both bounds. prdc is the package of Naeem et al.
2020, version 0.2, called as published: it starts eight threads. "One core" holds every party to one; "two cores" gives
ours two threads and leaves prdc its eight. Memory is what the peak of a fresh process grows by during the call.
A million codes lie on disk: their seconds and MiB are those of a fresh process that opens and reads them.
"""

import contextlib
import io
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.timing import gemm_rate, interleaved, limit, ratio, threads

N, LATENT, PIXELS = 4000, 32, 64
LARGE, QUERIES, MILLION, WIDE = 10_000, 4096, 1_000_000, 64
SIZES = [1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000]  #: of the curves of the information
SETS = [1000, 3000, 10_000, 20_000, 50_000]  #: and of density and coverage


def codes(n=N):
    """Codes whose information is a little below log N."""
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


def a_million(folder, n=MILLION):
    """Write codes of 64 latents, from tight to nearly unused, that hold about six nats."""
    import torch

    from uncollapse import Codes

    generator = torch.Generator().manual_seed(0)
    scale = torch.linspace(0.7, 0.99, WIDE)
    mean = torch.randn(n, WIDE, generator=generator) * (1 - scale.square()).sqrt()
    spread = scale * (0.05 * torch.randn(n, WIDE, generator=generator)).exp()
    Codes.from_gaussian(mean, spread).save(folder)


def sampled(n=MILLION, queries=2048):
    """The information at some examples, against all."""
    from uncollapse.metrics import mutual_information

    table = codes(n)
    return lambda: mutual_information(table, queries=queries)


def features(n=LARGE):
    """Two sets of 32 real-valued features."""
    import torch

    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, n, LATENT, generator=generator, dtype=torch.float64)


def ours_on_features(n=LARGE):
    from uncollapse.metrics import density_coverage

    real, fake = features(n)
    return lambda: density_coverage(real, fake)


def theirs_on_features(n=LARGE):
    from prdc import compute_prdc

    real, fake = features(n).numpy()

    def run():
        with contextlib.redirect_stdout(io.StringIO()):
            return compute_prdc(real, fake, 5)

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


PARTIES = {
    "whole set": whole_set, "broadcast": broadcast, "at 2,048 queries": sampled,
    "density_coverage": ours, "prdc": theirs,
    "density_coverage of features": ours_on_features, "prdc of features": theirs_on_features,
}  # fmt: skip


def growth(name, n):
    """MiB by which the peak of this process grows in a call, after a small one that loads what has to be loaded."""
    PARTIES[name](100)()
    call = PARTIES[name](n)
    before = peak()
    call()
    return (peak() - before) / 1024


def on_disk(folder, queries):
    """Seconds and MiB of everything that a million codes are asked for, each after a small call."""
    from uncollapse import Codes
    from uncollapse.metrics import active_units, kl, mutual_information

    work = {
        "information": lambda c: mutual_information(c, queries=queries).lower,
        "units": active_units, "split": lambda c: kl(c).information,
    }  # fmt: skip
    found = {}
    for name, call in work.items():
        call(codes(100))
        before, start = peak(), time.perf_counter()
        value = call(Codes.open(folder))
        seconds = time.perf_counter() - start
        found[name] = {"s": seconds, "MiB": (peak() - before) / 1024, "value": float(value), "se": value.se}
    return found


def peak():
    """The largest resident size of this process so far, KiB; `ru_maxrss` would start from the parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)


def fresh(*words):
    """What this module prints in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.metrics", *map(str, words)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def memory(above, below, goal, n):
    """The ratio of two parties' memory, each measured in a process of its own."""
    mib = {name: max(1.0, fresh("memory", name, n)) for name in (above, below)}
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
    n, large, rounds = (1000, 1000, 2) if quick else (N, LARGE, 5)
    figures = {}
    with one_core(), threads(1):
        times = interleaved({"broadcast": broadcast(n), "whole set": whole_set(n)}, rounds)
        figures["time: broadcast / whole-set mutual information"] = ratio(times, "broadcast", "whole set", ">= 70")
        for kind, binary in (("binary", True), ("real-valued", False)):
            times = interleaved({"prdc": theirs(n, binary), "density_coverage": ours(n, binary)}, rounds)
            found = ratio(times, "prdc", "density_coverage", ">= 4")
            figures[f"time: prdc / density_coverage, {kind} 8x8 images"] = found
        figures[f"time: prdc / density_coverage, {large:,} x 32, one core"] = peers(large, rounds)
    with threads(2):
        figures[f"time: prdc / density_coverage, {large:,} x 32, two cores"] = peers(large, rounds)
        figures[f"time: mutual information, {large:,} x 32, two threads"] = information(large, rounds)
    figures["memory: broadcast / whole-set mutual information"] = memory("broadcast", "whole set", "> 1", n)
    pair = "prdc of features", "density_coverage of features"
    figures[f"memory: prdc / density_coverage, {large:,} x 32"] = found = memory(*pair, "> 1", large)
    figures[f"memory: density_coverage, {large:,} x 32"] = limit([found["MiB"][pair[1]]], 300, "MiB")
    return figures | million(*((20_000, 512) if quick else (MILLION, QUERIES)))


def peers(n, rounds):
    """prdc against ours on features."""
    times = interleaved({"prdc": theirs_on_features(n), "density_coverage": ours_on_features(n)}, rounds)
    return ratio(times, "prdc", "density_coverage", ">= 5")


def information(n, rounds):
    """Both bounds of n codes, and the time of their product alone."""
    times = interleaved({"whole set": whole_set(n)}, rounds)["whole set"]
    floor = 2 * n * n * (2 * LATENT + 2) / gemm_rate((512, 2 * LATENT + 2, 512))
    return {**limit(times, 0.6), "floor": round(floor, 4)}


def million(n, queries):
    """What a million codes on disk cost."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "codes"
        a_million(folder, n)
        found = fresh("disk", folder, queries)
    mi = found["information"]
    size = f"{n:,} x {WIDE} on disk"
    return {
        f"time: mutual information of {size} at {queries:,} queries": {**limit([mi["s"]], 60), "nats": mi["value"],
                                                                       "standard error": mi["se"]},
        f"memory: the same, and active units, and the split of {size}":
            limit([max(one["MiB"] for one in found.values())], 1024, "MiB"),
        f"time: split of the KL per latent of {size}": limit([found["split"]["s"]], 60),
    }  # fmt: skip


LEFT_OUT = {
    "broadcast": 4000,
    "whole set": 30_000,
    "prdc of features": 20_000,
}  #: sizes beyond which one is not measured


def curves(quick=False):
    """Time and memory against the number of examples, two threads; None where a party is left out."""
    plots = {
        "Mutual information, 32 latents": (SIZES, ("whole set", "at 2,048 queries", "broadcast")),
        "Density and coverage, 32 features": (SETS, ("density_coverage of features", "prdc of features")),
    }
    out = {}
    for title, (sizes, names) in plots.items():
        sizes = sizes[:2] if quick else sizes
        points = {name: [point(name, n) for n in sizes] for name in names}
        out[title] = {
            "x": sizes, "xlabel": "examples",
            "seconds": {name: [one and one["s"] for one in row] for name, row in points.items()},
            "MiB": {name: [one and one["MiB"] for one in row] for name, row in points.items()},
        }  # fmt: skip
    return out


def point(name, n):
    """Seconds and MiB of one party at one size, in a process of its own."""
    return None if n > LEFT_OUT.get(name, MILLION) else fresh("point", name, n)


def both(name, n):
    """Seconds and MiB of a call with two threads."""
    with threads(2):
        PARTIES[name](100)()
        call = PARTIES[name](n)
        before, start = peak(), time.perf_counter()
        call()
        return {"s": round(time.perf_counter() - start, 4), "MiB": round((peak() - before) / 1024, 1)}


def main(what, name, number):
    """What `fresh` asks for."""
    if what == "disk":
        with threads(2):
            return on_disk(name, int(number))
    return growth(name, int(number)) if what == "memory" else both(name, int(number))


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
