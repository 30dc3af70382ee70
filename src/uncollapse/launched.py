"""What one of several processes of a run does: `python -m uncollapse.launched JOB`."""

import json
import os
import pickle
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch

from uncollapse.claim import inherit
from uncollapse.errors import UncollapseError
from uncollapse.fit import fit
from uncollapse.launching import Asked

__all__ = ["Teller", "main"]


class Teller:
    """Writes how far the run is, twice a second at most, for the process that started it."""

    def __init__(self, path: Path) -> None:
        self.path, self.last = path, 0.0

    def __call__(self, step: int, total: int, record: dict[str, Any]) -> None:
        """What `fit` tells."""
        if step < total and time.monotonic() < self.last + 0.5:
            return
        self.last = time.monotonic()
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps([step, total, record]), encoding="utf-8")
        part.replace(self.path)


def main(job: str) -> None:
    """Train with the others; the first process leaves the answer, which may be a mistake that the package names."""
    torch.set_num_threads(1)
    model, objective, data, run, asked = pickle.loads(Path(job).read_bytes())
    threading.Thread(target=stop_without, args=(asked.parent,), daemon=True).start()
    try:
        found = answered(model, objective, data, run, asked)
    except (UncollapseError, KeyboardInterrupt) as error:
        found = {"error": str(error), "kind": type(error).__name__}
    if os.environ["RANK"] == "0":
        part = asked.answer.with_suffix(".part")
        part.write_bytes(pickle.dumps(found))
        part.replace(asked.answer)


def answered(model: Any, objective: Any, data: Any, run: dict[str, Any], asked: Asked) -> dict[str, Any]:
    """The fields of a `Fit`, with states in place of modules."""
    if asked.inherited is not None:
        inherit(asked.inherited)
    if asked.told is not None:
        run["progress"] = Teller(asked.told)
    done = vars(fit(model, data, objective, **{**run, "devices": None})).copy()
    for name in ("model", "objective"):
        done[name] = {key: value.cpu() for key, value in done[name].state_dict().items()}
    done["best"] = {key: value.cpu() for key, value in done["best"].items()}
    return done


def stop_without(parent: int) -> None:
    """End the training, with a checkpoint, when the process that wants it is gone."""
    while True:
        time.sleep(1)
        try:
            os.kill(parent, 0)
        except ProcessLookupError:
            os.kill(os.getpid(), signal.SIGTERM)
            return
        except PermissionError:
            continue


if __name__ == "__main__":
    main(*sys.argv[1:])
