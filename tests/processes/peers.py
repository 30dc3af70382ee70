"""Trains cases by one process and by several, forks of one that has torch: `python peers.py OUT SIZE[-STRATEGY]...`."""

import os
import socket
import sys
import traceback
from pathlib import Path

import torch
from cases import cases

from uncollapse.fit import fit
from uncollapse.study.build import build


def trained(data, one, strategy):
    """States and history of a run."""
    model, objective = build(one, data)
    done = fit(model, data, objective, seed=one.seed, strategy=strategy, **one.fit)
    states = {**done.model.state_dict(), **{f"objective.{k}": v for k, v in done.objective.state_dict().items()}}
    return {"states": states, "history": done.history, "processes": done.processes}


def all_of(out, strategy):
    """Every case; an error is its outcome."""
    for name, (data, one) in cases().items():
        try:
            found = trained(data, one, strategy)
        except Exception:
            found = {"error": traceback.format_exc()}
        if int(os.environ.get("RANK", 0)) == 0:
            torch.save(found, out / f"{name}.pt")


def rank(out, place, size, port, strategy):
    """One process of several."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.environ.update(RANK=str(place), LOCAL_RANK=str(place), WORLD_SIZE=str(size), LOCAL_WORLD_SIZE=str(size),
                          MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), TORCHELASTIC_RUN_ID="test")  # fmt: skip
        all_of(out, strategy)
        code = 0
    finally:
        os._exit(code)


def main(out, *sizes):
    torch.set_num_threads(1)
    for word in sizes:
        size, _, strategy = word.partition("-")
        size, folder = int(size), Path(out, word)
        folder.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        children = [rank(folder, place, size, port, strategy or "ddp") for place in range(size)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(word, codes, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
