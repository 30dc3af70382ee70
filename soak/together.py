"""One run shared by several processes, of which one is killed again and again: the same bits as without."""

import hashlib
import os
import random
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SIZE = 3  #: processes that share a run


def run(quick: bool) -> dict[str, Any]:
    """Kill a process of a run at random moments until it has ended in spite of it."""
    import torch

    import uncollapse.fit  # noqa: F401  (loaded once, for all forks)

    torch.set_num_threads(1)
    batches, kills = (600, 3) if quick else (3000, 40)
    with tempfile.TemporaryDirectory() as room:
        started = time.monotonic()
        undisturbed = attempt(Path(room, "undisturbed"), batches)
        once = time.monotonic() - started
        assert undisturbed == [0] * SIZE, undisturbed
        hits, stuck = disturbed(Path(room, "disturbed"), batches, kills, once)
        same = digest(Path(room, "undisturbed")) == digest(Path(room, "disturbed"))
    assert same, "the weights differ from those of the undisturbed run"
    return {"processes": SIZE, "batches": batches, "kills": hits, "others left waiting": stuck, "same bits": same}


def disturbed(folder: Path, batches: int, kills: int, once: float) -> tuple[int, int]:
    """A run to its end in spite of kills; how many hit, and how many processes had to be ended by us."""
    chance, hits, stuck = random.Random(0), 0, 0
    for _ in range(kills):
        victim, moment = chance.randrange(SIZE), chance.random() * min(once / 10, 3)
        codes = attempt(folder, batches, victim, moment)
        hits += codes[victim] == -signal.SIGKILL
        stuck += sum(code == -signal.SIGTERM for code in codes)
        print(f"kill {hits} after {moment:.1f} s: {codes}", flush=True)
        if (folder / "weights.safetensors").exists():
            break
    codes = attempt(folder, batches)
    assert codes == [0] * SIZE, codes
    assert stuck == 0, f"{stuck} processes went on waiting for one that was gone"
    return hits, stuck


def attempt(folder: Path, batches: int, victim: int = -1, moment: float = 0.0) -> list[int]:
    """Start all processes, kill one after some seconds, and wait for the exit codes of all."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = [process(folder, batches, place, port) for place in range(SIZE)]
    if victim >= 0:
        wait_for_a_checkpoint(folder)
        time.sleep(moment)
        os.kill(children[victim], signal.SIGKILL)
    return [ended(child, patience=120 if victim >= 0 else 3600) for child in children]


def wait_for_a_checkpoint(folder: Path) -> None:
    """Until this attempt has written one: before they have met, processes wait for each other, whatever happens."""
    mark, since = folder / "checkpoint.safetensors", time.time()
    while not (mark.exists() and mark.stat().st_mtime > since):
        time.sleep(0.02)
        if (folder / "weights.safetensors").exists():
            return


def ended(child: int, patience: float) -> int:
    """The exit code of a process; one that does not end is ended."""
    limit = time.monotonic() + patience
    while time.monotonic() < limit:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -signal.SIGTERM


def process(folder: Path, batches: int, place: int, port: int) -> int:
    """Fork one process of the run."""
    child = os.fork()
    if child:
        return child
    code = 3
    try:
        os.environ.update(
            RANK=str(place), LOCAL_RANK=str(place), WORLD_SIZE=str(SIZE), LOCAL_WORLD_SIZE=str(SIZE),
            MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), TORCHELASTIC_RUN_ID="soak",
        )  # fmt: skip
        train(folder, batches)
        code = 0
    except Exception as error:
        print(f"  process {place}: {error}"[:200], file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def train(folder: Path, batches: int) -> None:
    """A run with a critic, its queue, dropout and batch normalisation."""
    import torch
    from torch import nn

    from uncollapse import VAE, Objective, fit
    from uncollapse.remedies import SelfCritic

    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 8))
    model = VAE(encoder, nn.Linear(4, 16), latent=4)
    x = torch.rand(200, 16, generator=torch.Generator().manual_seed(0)).round()
    objective = Objective([SelfCritic(memory=60, latent=4)])
    fit(model, x, objective, folder=folder, batches=batches, batch_size=20, validate_every=100, checkpoint_every=20)


def digest(folder: Path) -> str:
    """Of the final weights."""
    return hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
