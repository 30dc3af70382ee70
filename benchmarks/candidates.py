"""What more candidates are worth: information that a self critic of weight 1 leaves in a VAE, by where they come from.

`python -m benchmarks.candidates --data-dir DIR [--seeds 2] [--steps 2000] [--only NAME ...] [--times]`

MNIST in grey levels, MLP 784-512-512 with 32 latents (decoder mirrored), Gaussian decoder of variance 6, at which a
plain VAE collapses, Adam 1e-3, B = 128, fp32, one thread. `lower` and `upper` are `metrics.mutual_information` of the
10,000 test images, `kl` their mean KL, `distortion` the mean of squared error / 12, all in nats. What is done already
stands in results/candidates.json and is not done again.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
import math
import statistics
import time
from pathlib import Path

import torch
from torch import nn

from benchmarks.timing import machine
from uncollapse import VAE, Codes, Objective, draw
from uncollapse.data import load
from uncollapse.distributions import FixedGaussian, diagonal
from uncollapse.functional import info_nce, pairwise_log_prob
from uncollapse.metrics import mutual_information
from uncollapse.remedies import Remedy
from uncollapse.remedies.memory import Memory, counted, draw_in_chunks, moments

RESULTS = Path(__file__).parent / "results" / "candidates.json"
PIXELS, HIDDEN, LATENT, BATCH, VARIANCE = 784, 512, 32, 128, 6.0


class Critic(Remedy):
    """The self critic; `candidates` counts its negatives more than once, `size` gives it a memory."""

    def __init__(self, candidates=2, size=0, weight=1.0):
        super().__init__(weight)
        self.candidates = candidates
        self.memory = Memory(size, LATENT) if size else None

    def term(self, draw, model):
        mean, scale = diagonal(draw.q, "Critic")
        if self.memory is not None:
            return self.memory(draw.z, mean, scale)
        scores = [pairwise_log_prob(z, mean, scale) for z in draw.z]
        return torch.stack([info_nce(counted(one, self.candidates)) for one in scores]).mean(0)

    def after_step(self, model):
        super().after_step(model)
        if self.memory is not None:
            self.memory.after_step()


class Queue(Critic):
    """As one would first write it: earlier posteriors are constants, those of the batch are not.

    `units`: a batch is kept in its own, as `Memory` does it. `rows`: earlier samples are rows too, whose gradient
    reaches the batch's posteriors (Kim et al., 2024, https://arxiv.org/abs/2406.12356): if nothing were stale, that
    would be the large batch's gradient, and not in the mean only.
    """

    def __init__(self, size, units=False, rows=False):
        super().__init__()
        self.size, self.units, self.rows, self.kept, self.now = size, units, rows, torch.zeros(3, 0, LATENT), None

    def term(self, draw, model):
        mean, scale = diagonal(draw.q, "Queue")
        z, (zs, means, scales) = draw.z[0], self.kept
        if self.units:
            centre, unit = moments(mean, scale)
            z, mean, scale = (z - centre) / unit, (mean - centre) / unit, scale / unit
        self.now = torch.stack([z, mean, scale]).detach()
        means, scales = torch.cat([mean, means]), torch.cat([scale, scales])
        term = info_nce(pairwise_log_prob(z, means, scales))
        if self.rows and len(zs):
            other = info_nce(pairwise_log_prob(zs, means, scales).roll(-len(z), 1)).sum() / len(z)
            term = term + other - other.detach()
        return term

    def after_step(self, model):
        super().after_step(model)
        self.kept = torch.cat([self.now, self.kept], 1)[:, : self.size]


class Fresh(Critic):
    """Further images, encoded in every step without a graph: what a memory would be if it were not stale."""

    def __init__(self, size, data):
        super().__init__()
        self.size, self.data = size, data

    def term(self, draw, model):
        memory = Memory(self.size, LATENT).eval()
        mean, scale = diagonal(draw.q, "Fresh")
        with torch.no_grad():
            means, scales = diagonal(model.posterior(self.data[torch.randint(len(self.data), (self.size,))]), "Fresh")
            centre, unit = moments(mean, scale)
            memory.bank.put(torch.cat([(means - centre) / unit, scales / unit], 1))
        return memory(draw.z, mean, scale)


def forms(data):
    """Remedies by name, with the batch that each is trained on."""
    return {
        "none": (BATCH, lambda: []),
        **{f"in batch, B = {size}": (size, lambda: [Critic()]) for size in (128, 256, 512, 1024)},
        "queue 896, as it was": (BATCH, lambda: [Queue(896)]),
        "queue 896, rows too": (BATCH, lambda: [Queue(896, rows=True)]),
        "queue 896, own units": (BATCH, lambda: [Queue(896, units=True)]),
        "queue 896, own units, rows too": (BATCH, lambda: [Queue(896, units=True, rows=True)]),
        "queue 16,256, as it was": (BATCH, lambda: [Queue(16256)]),
        "fresh 896": (BATCH, lambda: [Fresh(896, data)]),
        "memory 384": (BATCH, lambda: [Critic(size=384)]),
        "memory 896": (BATCH, lambda: [Critic(size=896)]),
        "memory 1,920": (BATCH, lambda: [Critic(size=1920)]),
        "memory 3,968": (BATCH, lambda: [Critic(size=3968)]),
        "counted as 256": (BATCH, lambda: [Critic(256)]),
        "counted as 512": (BATCH, lambda: [Critic(512)]),
        "counted as 1,024": (BATCH, lambda: [Critic(1024)]),
        "counted as 50,000": (BATCH, lambda: [Critic(50_000)]),
        "weight 5, in batch, B = 128": (BATCH, lambda: [Critic(weight=5.0)]),
        "weight 5, memory 1,920": (BATCH, lambda: [Critic(size=1920, weight=5.0)]),
        "B = 32, in batch": (32, lambda: [Critic()]),
        "B = 32, memory 480": (32, lambda: [Critic(size=480)]),
        "B = 32, counted as 512": (32, lambda: [Critic(512)]),
    }


def networks(seed):
    torch.manual_seed(seed)
    encoder = nn.Sequential(
        nn.Linear(PIXELS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2 * LATENT)
    )
    decoder = nn.Sequential(
        nn.Linear(LATENT, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, PIXELS)
    )
    return VAE(encoder, decoder, LATENT, read_x=FixedGaussian(math.sqrt(VARIANCE)))


class Training:
    """Steps of a model on batches drawn from the data."""

    def __init__(self, remedies, batch, data, seed=0, chunk=None):
        self.model, self.objective = networks(seed), Objective(remedies)
        self.optimiser = torch.optim.Adam(self.model.parameters(), 1e-3, fused=True)
        self.noise = torch.Generator().manual_seed(seed)
        self.batch, self.data, self.chunk, self.last = batch, data, chunk, []

    def run(self, steps):
        for _ in range(steps):
            x = self.data[torch.randint(len(self.data), (self.batch,), generator=self.noise)]
            one = draw(self.model, x) if self.chunk is None else draw_in_chunks(self.model, x, self.chunk)
            terms = self.objective(one, self.model)
            self.optimiser.zero_grad(set_to_none=True)
            torch.stack([term.mean() for term in terms.values()]).sum().backward()
            self.optimiser.step()
            self.objective.after_step(self.model)


@torch.no_grad()
def judged(model, test):
    """What training has left, in nats."""
    codes = Codes.of(model, test)
    found = mutual_information(codes)
    wrong = model.likelihood(codes.sample.float()).mean - test
    figures = {
        "lower": float(found.lower),
        "upper": float(found.upper),
        "kl": float(codes.kl.sum(1).mean()),
        "distortion": float(wrong.square().sum(1).mean()) / (2 * VARIANCE),
    }
    return {name: round(value, 3) for name, value in figures.items()}


def costs(data, rounds=12, steps=3):
    """Time of a step over that of a plain step of B = 128, by turns: median, smallest, largest.

    Seconds of the processor, not of the clock: others may be at work on the same machine.
    """
    table = forms(data)
    parties = {name: Training(make(), batch, data) for name, (batch, make) in table.items()}
    parties["in batch, B = 1024, in chunks of 128"] = Training([Critic()], 1024, data, chunk=128)
    for one in parties.values():
        one.run(2)
        for remedy in one.objective.remedies:  # a full memory, without the steps that fill it
            fill(remedy, one.model, data)
    times = {name: [] for name in parties}
    for number in range(rounds):
        for name in list(parties) if number % 2 else list(reversed(parties)):
            start = time.process_time()
            parties[name].run(1 if parties[name].batch > BATCH else steps)
            spent = time.process_time() - start
            times[name].append(spent / (1 if parties[name].batch > BATCH else steps))
    ratios = {name: [a / b for a, b in zip(times[name], times["none"], strict=True)] for name in parties}
    return {
        name: [round(number, 3) for number in (statistics.median(some), min(some), max(some))]
        for name, some in ratios.items()
    }


@torch.no_grad()
def fill(remedy, model, data):
    size = getattr(remedy, "size", 0) or (remedy.memory.size if remedy.memory is not None else 0)
    for _ in range(-(-size // 512)):
        mean, scale = diagonal(model.posterior(data[:512]), "fill")
        if isinstance(remedy, Queue):
            remedy.kept = torch.cat([torch.stack([mean, mean, scale]), remedy.kept], 1)[:, :size]
        elif remedy.memory is not None:
            remedy.memory.bank.put(torch.cat([mean, scale], 1))


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.candidates", description=__doc__)
    parser.add_argument("--data-dir", help="where MNIST lies, or $UNCOLLAPSE_DATA")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some of the forms")
    parser.add_argument("--times", action="store_true", help="measure the time of a step too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    digits = load("mnist", data_dir=options.data_dir, binarise="none")
    data, test = (part.tensor().flatten(1) for part in (digits.train, digits.test))
    table = forms(data)
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"runs": {}}
    for seed in range(options.seeds):
        for name in options.only or table:
            key = f"{name}; seed {seed}; {options.steps} steps"
            if key in kept["runs"]:
                continue
            batch, make = table[name]
            training = Training(make(), batch, data, seed)
            training.run(options.steps)
            kept["runs"][key] = judged(training.model, test)
            print(key, kept["runs"][key], flush=True)
            keep(kept)
    if options.times:
        kept["step over plain step: median, smallest, largest"] = costs(data)
        keep(kept)


def keep(results):
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({**results, "machine": machine()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
