"""Draws of a process among several: `python noises.py OUT SIZE`."""

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from uncollapse.processes import Apart, Group, sharing, using

ROWS = 8


class Net(nn.Module):
    """Adds noise, whatever its mode."""

    def __init__(self, noise):
        super().__init__()
        self.noise = noise

    def forward(self, x):
        return x + self.noise(x)


def called(noise, training):
    """What a network with this noise returns, and what is drawn afterwards."""
    torch.manual_seed(1)
    net = Net(noise).train(training)
    x = torch.linspace(0.01, 20, ROWS)[:, None].repeat(1, 40)
    with sharing([net]):
        out = net(x)
    return {"out": out[:, :3].tolist(), "after": torch.rand(3).tolist()}


def likelihood(group):
    """Samples of a Bernoulli likelihood of a network in evaluation mode."""
    net = nn.Linear(5, 5).eval()
    torch.manual_seed(1)
    z = torch.linspace(-2, 2, ROWS * 5).view(1, ROWS, 5)
    made = torch.distributions.Independent(torch.distributions.Bernoulli(logits=z), 1)
    if group is not None:
        made = Apart(
            lambda z: torch.distributions.Independent(torch.distributions.Bernoulli(logits=z), 1), z, group, net
        )
    return {"out": made.sample().tolist(), "after": torch.rand(3).tolist()}


def everything(group):
    """All draws by name."""
    with using(group):
        return {
            "likelihood in evaluation": likelihood(group),
            "steady, trained": called(torch.rand_like, True),
            "steady, evaluated": called(torch.randn_like, False),
            "gamma": called(torch._standard_gamma, False),
            "no rows": called(lambda x: torch.rand(len(x) * 2).sum(), True),
        }


def main(out, size):
    torch.set_num_threads(1)
    rank = 0
    for other in range(1, int(size)):
        if rank == 0 and os.fork() == 0:
            rank = other
    group = None
    if int(size) > 1:
        store = dist.FileStore(f"{out}/store", int(size))
        dist.init_process_group("gloo", store=store, rank=rank, world_size=int(size))
        group = Group(rank, int(size))
    Path(out, f"{size}-{rank}.json").write_text(json.dumps(everything(group)))
    if group is not None:
        dist.barrier()


if __name__ == "__main__":
    main(*sys.argv[1:])
