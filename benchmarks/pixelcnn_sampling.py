"""Drawing images with a PixelCNN: with a memory for every masked convolution, against a pass over all rows per pixel.

`python -m benchmarks.pixelcnn_sampling [--quick] [--device cpu]`

Both ways draw the same images from the same random numbers, which is checked before anything is timed; the parties
take turns. The plain way is what `nets.Autoregressive` does with a network of which it knows nothing.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
from pathlib import Path

import torch
from torch import nn

from benchmarks.timing import interleaved, machine, ratio
from uncollapse.nets import Autoregressive, PixelCNN

RESULTS = Path(__file__).parent / "results"
GOAL = ">= 3 from some images on"
CASES = {
    "small, 8x8, 1 image": (PixelCNN.small, (1, 8, 8), 1, 9),
    "small, 8x8, 64 images": (PixelCNN.small, (1, 8, 8), 64, 9),
    "small, 8x8 in colour, 64 images": (PixelCNN.small, (3, 8, 8), 64, 9),
    "he2019, 14x14, 16 images": (PixelCNN.he2019, (1, 14, 14), 16, 3),
    "he2019, 28x28, 1 image": (PixelCNN.he2019, (1, 28, 28), 1, 3),
}  # with rounds


class Unknown(nn.Module):
    """A network that does not say how its pixels are connected."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x, context):
        return self.network(x, context)


def drawing(px, device):
    """A call that draws from a fixed seed."""

    def call():
        torch.manual_seed(0)
        drawn = px.sample()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return drawn

    return call


def measure(make, shape, number, rounds, device):
    """Seconds of both ways, and their ratio."""
    torch.manual_seed(0)
    px = make(shape, 16).to(device).eval()(torch.randn(number, 16, device=device))
    plain = Autoregressive(Unknown(px.network), px.context, tuple(px.event_shape))
    parties = {"plain": drawing(plain, device), "memory": drawing(px, device)}
    if not torch.equal(parties["plain"](), parties["memory"]()):
        raise AssertionError("both ways should draw the same images from the same random numbers")
    return ratio(interleaved(parties, rounds), "plain", "memory", GOAL)


def run(quick=False, device="cpu"):
    """The figures, by case."""
    torch.set_num_threads(1)
    cases = {name: case for name, case in CASES.items() if not quick or case[1][1] == 8}
    return {
        f"plain over with memory, {name}": measure(*case[:3], 1 if quick else case[3], torch.device(device))
        for name, case in cases.items()
    }


def page(figures, where):
    """The table in Markdown."""
    lines = [
        "# Drawing with a PixelCNN",
        "",
        f"`python -m benchmarks.pixelcnn_sampling`: {where['processor']}, one thread, torch {where['torch']}.",
        "Both ways draw the same images. Medians of interleaved runs, with the least and the most.",
        "",
        "| case | plain, s | with memory, s | faster by |",
        "|---|---|---|---|",
    ]
    for name, row in figures.items():
        lines.append(
            f"| {name.removeprefix('plain over with memory, ')} | {row['seconds']['plain']:.3f} | "
            f"{row['seconds']['memory']:.3f} | {row['ratio']:.1f} ({row['min']:.1f} to {row['max']:.1f}, "
            f"{row['rounds']} rounds) |"
        )
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pixelcnn_sampling", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="8x8 only, one round; figures are not kept")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    figures, where = run(options.quick, options.device), machine()
    if options.device != "cpu":
        where["processor"] = torch.cuda.get_device_name(options.device)
    print(page(figures, where))
    if not options.quick:
        stem = "pixelcnn_sampling" if options.device == "cpu" else "pixelcnn_sampling_gpu"
        text = json.dumps({"machine": where, "figures": figures}, indent=1)
        (RESULTS / f"{stem}.json").write_text(text + "\n")
        (RESULTS / f"{stem}.md").write_text(page(figures, where))


if __name__ == "__main__":
    main()
