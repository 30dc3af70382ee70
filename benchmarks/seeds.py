"""Four seeds of one model: `fit_seeds` in its ways against four calls of `fit`, one after the other.

Everything runs on the processor, with two threads for `fit` and for stacked seeds and one for each process. Models: (a)
an MLP VAE, 784-64-16, batch 64; (b) the same with 512 hidden units, batch 256; (c) the five-layer convolutional one on
28 x 28, batch 64; (d) the small convolutional one on 8 x 8, batch 64; random bits, Adam, one validation at the end. A
party is a whole call with all that it does around its steps; for processes, whose start takes seconds whatever the
length of a run, the time of the training itself is given, shared between as many processes as there are cores, and the
start beside it. `floor` is the time of the products alone: FLOPs of the steps over the measured rate of a product.
"""

import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.timing import gemm_rate, interleaved, ratio, threads
from uncollapse import VAE, Objective, draw, fit, fit_seeds
from uncollapse.data import as_data
from uncollapse.nets import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
from uncollapse.nets.conv import SMALL
from uncollapse.plan import Settings
from uncollapse.seeds.choice import choose
from uncollapse.seeds.processes import cores

SEEDS, LATENT = (0, 1, 2, 3), 16


def mlp(hidden):
    return lambda shape: (
        MLPEncoder(shape, LATENT, hidden=(hidden,)),
        MLPDecoder(shape, LATENT, hidden=(hidden,)),
    )


def conv(shape):
    return ConvEncoder(shape, LATENT), ConvDecoder(shape, LATENT)


def conv_small(shape):
    return ConvEncoder(shape, LATENT, **SMALL), ConvDecoder(shape, LATENT, **SMALL)


#: networks, side of the images, batch, steps, goal of the stacked way, goal of processes (empty: not measured)
CASES = {
    "MLP, 64 hidden, B = 64": (mlp(64), 28, 64, 1000, "<= 0.5", "none"),
    "MLP, 512 hidden, B = 256": (mlp(512), 28, 256, 60, "none", "none"),
    "conv, 28 x 28, B = 64": (conv, 28, 64, 12, "none", "none"),
    "small conv, 8 x 8, B = 64": (conv_small, 8, 64, 150, "none", ""),
}


class Case:
    """One model, its data and the three parties."""

    def __init__(self, networks, side, batch, steps):
        generator = torch.Generator().manual_seed(0)
        self.x = (torch.rand(20 * batch, 1, side, side, generator=generator) < 0.13).float()
        self.networks, self.data = networks, (self.x, self.x[:batch])
        self.options = {"batches": steps, "batch_size": batch, "validate_every": steps, "keep": "last", "device": "cpu"}
        self.training, self.starting = [], []

    def make(self, seed):
        torch.manual_seed(seed)
        return VAE(*self.networks(self.x.shape[1:]), LATENT)

    def sequential(self):
        for seed in SEEDS:
            fit(self.make(seed), self.data, seed=seed, **self.options)

    def one_thread(self):
        with threads(1):
            self.sequential()

    def stacked(self):
        fit_seeds(self.make, self.data, SEEDS, how="stacked", **self.options)

    def processes(self):
        started = time.perf_counter()
        runs = fit_seeds(self.make, self.data, SEEDS, how="processes", **self.options)
        self.training.append(sum(run.seconds for run in runs) / min(cores(), len(SEEDS)))
        self.starting.append(time.perf_counter() - started - self.training[-1])

    def work(self):
        """FLOPs of the products of all steps, forward and backward."""
        with FlopCounterMode(display=False) as counter:
            draw(self.make(0), self.x[: self.options["batch_size"]]).elbo.mean().backward()
        return len(SEEDS) * self.options["batches"] * counter.get_total_flops()

    def auto(self):
        """What `how="auto"` would do for a long training."""
        models = [self.make(seed) for seed in SEEDS]
        plan = Settings.of(**self.options | {"batches": 10**6})
        return choose(models, [Objective() for _ in SEEDS], as_data(self.data), plan)[0]


def run(quick=False, only=tuple(CASES)):
    """Time all ways in turn, for every model."""
    found = {}
    with threads(2):
        rate = gemm_rate()
        for name in only:
            networks, side, batch, steps, joint, apart = CASES[name]
            case = Case(networks, side, batch, max(steps // 10, 2) if quick else steps)
            more = {"auto": case.auto(), "floor": round(case.work() / rate, 5)}
            found |= together(name, case, joint, 2 if quick else 3, more)
            if apart and not quick:
                found |= separate(name, case, apart, more)
    return found


def together(name, case, goal, rounds, more):
    """Stacked seeds against one after the other, with two threads and with one."""
    parties = {"sequential": case.sequential, "stacked": case.stacked, "one thread": case.one_thread}
    times = interleaved(parties, rounds)
    return {
        f"{name}: stacked over sequential": ratio(times, "stacked", "sequential", goal) | more,
        f"{name}: stacked over sequential, one thread": ratio(times, "stacked", "one thread", "none") | more,
    }


def separate(name, case, goal, more):
    """Processes against one seed after the other."""
    times = interleaved({"sequential": case.sequential, "processes": case.processes}, rounds=3)
    times["training in processes"] = case.training[1:]
    start = {"start of all processes": round(sorted(case.starting)[len(case.starting) // 2], 2)}
    outcome = ratio(times, "training in processes", "sequential", goal)
    return {f"{name}: processes over sequential": outcome | more | start}
