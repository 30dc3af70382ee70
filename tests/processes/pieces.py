"""Runs with weights in pieces: `python pieces.py OUT straight|stopped|resumed`, as a process of torchrun's."""

import os
import signal
import sys
from pathlib import Path

import torch
from torch import nn

from uncollapse import VAE, Objective
from uncollapse.fit import fit
from uncollapse.metrics import nll
from uncollapse.remedies import NeuralCritic, SelfCritic

X = torch.rand(60, 16, generator=torch.Generator().manual_seed(0)).round()
SETTINGS = {"batches": 8, "batch_size": 16, "validate_every": 4, "clip": 1.0, "seed": 3, "lr": 1e-2}


def made():
    """A model with a few layers, and remedies with networks and without."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 8))
    decoder = nn.Sequential(nn.Linear(4, 33), nn.ReLU(), nn.Linear(33, 16))
    return VAE(encoder, decoder, latent=4), Objective([SelfCritic(), NeuralCritic((16,), 4)])


def main(out, how):
    torch.set_num_threads(1)
    model, objective = made()
    held = {}

    def watch(trained):
        """Count what this process holds, measure, and be told to stop after the first half."""
        pieces = [p.to_local() if hasattr(p, "to_local") else p for p in trained.parameters()]
        held["numbers"], held["given"] = sum(p.numel() for p in pieces), trained is model
        if how == "stopped":
            os.kill(os.getpid(), signal.SIGINT)
        return {"nll": float(nll(trained, X[:20], samples=4))}

    found = {"how": how}
    try:
        done = fit(model, X, objective, folder=Path(out, "run"), watch=watch, strategy="fsdp", **SETTINGS)
        found |= {"watched": [one["nll"] for one in done.history], "same": done.model is model, "best": done.best}
    except KeyboardInterrupt as error:
        found["stopped"] = str(error)
    if os.environ["RANK"] == "0":
        torch.save(found | {"held": held, "state": model.state_dict()}, Path(out, f"{how}.pt"))


if __name__ == "__main__":
    main(*sys.argv[1:])
