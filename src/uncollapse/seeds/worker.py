"""What a process does for one seed: `python -m uncollapse.seeds.worker JOB DATA ANSWER`, all of them paths."""

import os
import pickle
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from uncollapse.errors import UncollapseError
from uncollapse.fit import fit

__all__ = ["main"]


def main(job: str, data: str, answer: str) -> None:
    """Train and leave the answer; a mistake that the package names is an answer too."""
    torch.set_num_threads(1)
    model, objective, run = pickle.loads(Path(job).read_bytes())
    try:
        found = answered(model, objective, pickle.loads(Path(data).read_bytes()), run)
    except UncollapseError as error:
        found = {"error": str(error), "kind": type(error).__name__}
    left = Path(answer)
    left.with_suffix(".part").write_bytes(pickle.dumps(found))
    left.with_suffix(".part").replace(left)


def answered(model: Any, objective: Any, data: Any, run: dict[str, Any]) -> dict[str, Any]:
    """The fields of a `Fit`, with states in place of modules."""
    done = vars(fit(model, data, objective, progress=orphaned(), **run)).copy()
    for name in ("model", "objective"):
        done[name] = {key: cpu(value) for key, value in done[name].state_dict().items()}
    done["best"] = {key: cpu(value) for key, value in done["best"].items()}
    return done


def orphaned() -> Callable[[int, int, dict[str, Any]], None]:
    """Ends the training, with a checkpoint, when the process that wants it is gone."""
    parent = os.getppid()

    def look(step: int, total: int, record: dict[str, Any]) -> None:
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)

    return look


def cpu(value: Any) -> Any:
    """A tensor where another process can read it."""
    return value.cpu() if isinstance(value, torch.Tensor) else value


if __name__ == "__main__":
    main(*sys.argv[1:])
