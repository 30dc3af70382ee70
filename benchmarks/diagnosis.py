"""What a diagnosis costs: seconds beyond one pass of the encoder, and MiB, each in a process of its own.

10,000 images of 28x28 (MNIST's test part where `$UNCOLLAPSE_DATA` holds it, else noise of the same shape) under an MLP
VAE of 32 latents, and 200,000 codes of 64. The figures are ratios to what is allowed: seconds over the goal's seconds,
growth of the process over the goal's. Two threads, as the goal says. Monitoring is measured as its share of training.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

LATENT, WIDE = 32, 64
GOALS = {
    "quick, 10,000 images": ("quick", 10.0, 1500.0),
    "full, 10,000 images": ("full", 120.0, 1500.0),
    "quick, 200,000 codes": ("codes", 180.0, 1500.0),
}


def images(n):
    """Test images, or noise where there are none."""
    import torch

    from uncollapse.data import load
    from uncollapse.errors import BadInput

    try:
        return load("mnist").test.tensor()[:n], "MNIST"
    except BadInput:
        return (torch.rand(n, 1, 28, 28, generator=torch.Generator().manual_seed(0)) < 0.2).float(), "noise"


def trained(x, batches=300):
    """An MLP VAE after a little training: what it knows does not change what its diagnosis costs."""
    import torch

    import uncollapse
    from uncollapse.nets import MLPDecoder, MLPEncoder

    torch.manual_seed(0)
    shape = tuple(x.shape[1:])
    model = uncollapse.VAE(MLPEncoder(shape, LATENT), MLPDecoder(shape, LATENT), LATENT)
    rule = torch.optim.Adam(model.parameters(), 1e-3)
    for start in range(batches):
        part = x[(start * 64) % len(x) :][:64]
        rule.zero_grad()
        (-uncollapse.draw(model, part).elbo.mean()).backward()
        rule.step()
    return model


def codes(n):
    """Codes of a model with latents from 0 to 5 nats."""
    import torch

    import uncollapse

    scale = (-torch.linspace(0, 5, WIDE)).exp().expand(n, WIDE)
    mean = torch.randn(n, WIDE, generator=torch.Generator().manual_seed(0)) * (1 - scale.square()).sqrt()
    return uncollapse.Codes.from_gaussian(mean, scale.contiguous())


def one(kind, n):
    """Seconds, seconds of one encoder pass, MiB of growth and the data's name, of one diagnosis in this process."""
    import torch

    import uncollapse
    from benchmarks.metrics import peak

    torch.set_num_threads(2)
    if kind == "codes":
        model, data, name = None, codes(n), "codes"
    else:
        data, name = images(n)
        model = trained(data)
    encoder = 0.0
    if model is not None:
        uncollapse.Codes.of(model, data[:512])
        start = time.perf_counter()
        uncollapse.Codes.of(model, data)
        encoder = time.perf_counter() - start
    before, start = peak(), time.perf_counter()
    found = uncollapse.diagnose(model, data, budget="full" if kind == "full" else "quick")
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "encoder": encoder,
        "MiB": (peak() - before) / 1024,
        "data": name,
        "word": found.verdict.word,
    }


def apart(kind, n):
    """The same in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.diagnosis", kind, str(n)]
    setting = os.environ | {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"}
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, env=setting)
    return json.loads(done.stdout.splitlines()[-1])


def monitoring(rounds):
    """An epoch of 60,000 random images, B = 256, with the monitor against without it, in turn."""
    import torch

    import uncollapse
    from benchmarks.timing import interleaved, ratio

    x = (torch.rand(60_000, 784, generator=torch.Generator().manual_seed(0)) < 0.2).float().view(-1, 1, 28, 28)
    model = trained(x, 1)
    rule = torch.optim.Adam(model.parameters(), 1e-3)

    def epoch(watch):
        for part in x.split(256):
            draw = uncollapse.draw(model, part)
            rule.zero_grad()
            (-draw.elbo.mean()).backward()
            rule.step()
            if watch is not None:
                watch(draw.q, model.prior())
        if watch is not None:
            watch.epoch()

    watch = uncollapse.Monitor(tell=None)
    times = interleaved({"watched": lambda: epoch(watch), "plain": lambda: epoch(None)}, rounds)
    return ratio(times, "watched", "plain", "<= 1.03")


def run(quick=False):
    """Figures by name; in the quick form of a tenth of the examples, which says nothing about the goals."""
    figures = {}
    for what, (kind, seconds, mib) in GOALS.items():
        n = (200_000 if kind == "codes" else 10_000) // (10 if quick else 1)
        taken = [apart(kind, n) for _ in range(1 if quick else 3)]
        beyond = sorted(t["seconds"] - t["encoder"] for t in taken)
        grown = sorted(t["MiB"] for t in taken)
        spread = {"rounds": len(taken), "data": taken[0]["data"]}
        figures[f"{what}: seconds / {seconds:g}"] = {
            "ratio": round(beyond[len(beyond) // 2] / seconds, 3), "min": round(beyond[0] / seconds, 3),
            "max": round(beyond[-1] / seconds, 3), "goal": "<= 1", "seconds": [round(t, 2) for t in beyond], **spread,
        }  # fmt: skip
        figures[f"{what}: MiB / {mib:g}"] = {
            "ratio": round(grown[len(grown) // 2] / mib, 3), "min": round(grown[0] / mib, 3),
            "max": round(grown[-1] / mib, 3), "goal": "<= 1", "MiB": [round(m) for m in grown], **spread,
        }  # fmt: skip
    figures["an epoch with Monitor / without, MLP, B = 256"] = monitoring(2 if quick else 5)
    return figures


if __name__ == "__main__":
    print(json.dumps(one(sys.argv[1], int(sys.argv[2]))))
