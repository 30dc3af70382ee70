"""What every remedy adds to a step of the five-layer convolutional VAE at B = 64.

On one core a step takes a third of a second there; `sized("conv", (256, 1024), False)` measures the larger batches in
half an hour.
"""

from benchmarks.remedies import alone, sized


def run(quick=False):
    return alone(lambda: sized("conv", (64,), quick))
