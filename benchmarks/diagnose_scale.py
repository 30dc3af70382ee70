"""Bracket and KL split of large tables of codes: `python -m benchmarks.diagnose_scale [N D [QUERIES]]` prints a table.

Seconds of the wall clock and of the processor, and MiB by which the peak of this process grows beyond the codes
themselves. Kinds: "smooth" latents hold half a nat each, "graded" ones 0 to 5 nats, "tight" ones 4 nats. Set
OMP_NUM_THREADS to the number of threads to be measured.
"""

import os
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from benchmarks.metrics import peak

SETTINGS = ((10_000, 32, None), (200_000, 64, 4096))
KINDS = ("smooth", "graded", "tight")


def codes(kind, n, latent):
    """Gaussian codes whose scales differ between latents and between examples."""
    import torch

    from uncollapse import Codes

    generator = torch.Generator().manual_seed(0)
    middle = {"smooth": torch.full((latent,), 0.6), "tight": torch.full((latent,), 0.02)}
    scale = middle.get(kind, (-torch.linspace(0, 5, latent)).exp())
    mean = torch.randn(n, latent, generator=generator) * (1 - scale.square()).sqrt()
    return Codes.from_gaussian(mean, scale * (0.3 * torch.randn(n, latent, generator=generator)).exp())


def measured(work):
    """What the work returns, with its seconds by the wall and by the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    found = work()
    return found, time.perf_counter() - wall, time.process_time() - processor


def main():
    import torch

    from uncollapse.metrics import kl, mutual_information

    given = [int(word) for word in sys.argv[1:]]
    settings = [(given[0], given[1], given[2] if len(given) > 2 else None)] if given else SETTINGS
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    print(f"{torch.get_num_threads()} threads; seconds are wall (processor)")
    for n, latent, queries in settings:
        for kind in KINDS:
            table = codes(kind, n, latent)
            before = peak()
            bracket, *first = measured(lambda table=table, q=queries: mutual_information(table, queries=q))
            split, *second = measured(lambda table=table, q=queries: kl(table, queries=q).information)
            print(
                f"N = {n:>7,} D = {latent} {kind:>6}: "
                f"bracket {first[0]:5.1f} ({first[1]:5.1f}) s, split {second[0]:5.1f} ({second[1]:5.1f}) s, "
                f"{(peak() - before) / 1024:5.0f} MiB; {bracket.lower!r}; {split!r}",
                flush=True,
            )


if __name__ == "__main__":
    main()
