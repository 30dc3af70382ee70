"""Whether the faster ways of training end where plain fp32 ends: curves of three seeds on the embedded digits.

An MLP VAE and a convolutional one, each plain and with the self critic; in fp32, in bf16, compiled, and (convolutional)
channels last. The noise and the order of the data are the same for one seed, so differences are of rounding alone, as
training enlarges them. A figure is the mean over the seeds of (mode - fp32) in the final validation score, as a share
of the standard deviation of fp32's score over the seeds; smallest and largest are single seeds.
"""

import statistics
import sys

import torch

import uncollapse.fit  # noqa: F401  (the module behind the function)
from uncollapse import Objective, data, fit, nets
from uncollapse.remedies import SelfCritic

SEEDS, EVERY, LATENT = (0, 1, 2), 50, 16
MODES = {"bf16": {"precision": "bf16"}, "compiled": {"compile": True}}


def networks(kind, shape):
    name = "conv-small" if kind == "conv" else "mlp"
    return nets.build_vae(name, name, shape, latent=LATENT)


def scores(kind, critic, seed, batches, **mode):
    """Validation scores along training, nats."""
    digits = data.load("digits")
    torch.manual_seed(seed)
    model = networks(kind, digits.train.shape)
    objective = Objective([SelfCritic()] if critic else [])
    options = {"batches": batches, "batch_size": 128, "validate_every": EVERY, "keep": "last", "seed": seed}
    found = fit(model, digits, objective, device="cpu", **options, **mode)
    if found.remarks:
        raise RuntimeError(found.remarks[0])
    return [record["valid"]["score"] for record in found.history]


def channels_last(*arguments):
    """The scores in a layout that `precision="auto"` might choose."""
    module = sys.modules["uncollapse.fit"]
    before = module.choose_layout
    module.choose_layout = lambda *_: "channels last"
    try:
        return scores(*arguments)
    finally:
        module.choose_layout = before


def share(mode, plain):
    """The mean difference at the end, in standard deviations over the seeds."""
    spread = statistics.stdev(curve[-1] for curve in plain)
    gaps = sorted((a[-1] - b[-1]) / spread for a, b in zip(mode, plain, strict=True))
    return {
        "ratio": round(abs(statistics.mean(gaps)), 4), "min": round(gaps[0], 4), "max": round(gaps[-1], 4),
        "goal": "<= 0.5", "rounds": len(gaps), "nats": round(statistics.mean(gaps) * spread, 5),
        "sd over seeds, nats": round(spread, 4),
    }  # fmt: skip


def every(quick):
    """Curves by model and mode."""
    batches = 100 if quick else 600
    for kind in ("MLP", "conv"):
        for critic in (False, True):
            name = f"{kind}, {'self critic' if critic else 'plain'}"
            modes = {"fp32": [scores(kind, critic, seed, batches) for seed in SEEDS]}
            for mode, options in MODES.items():
                modes[mode] = [scores(kind, critic, seed, batches, **options) for seed in SEEDS]
            if kind == "conv":
                modes["channels last"] = [channels_last(kind, critic, seed, batches) for seed in SEEDS]
            yield name, modes


def run(quick=False):
    """Figures by name."""
    return {
        f"{name}: {mode} minus fp32, in sd over seeds": share(curves, modes["fp32"])
        for name, modes in every(quick)
        for mode, curves in modes.items()
        if mode != "fp32"
    }
