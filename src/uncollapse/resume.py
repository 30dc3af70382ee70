"""The folder of one run: whose it is, its log, its checkpoint, its final weights."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from uncollapse.data import DataSet
from uncollapse.errors import RunConflict
from uncollapse.objective import Objective
from uncollapse.plan import Settings
from uncollapse.store import Log, load_tensors, read_json, save_tensors, write_json

__all__ = ["RunFolder"]


class RunFolder:
    """Where a run keeps what it needs to resume; without a path nothing is kept.

    Files: `fit.json` (what is trained here), `log.jsonl`, `checkpoint.safetensors` (everything, with the scalars in
    its header, so that it is replaced as one), `state.json` (how far it is, for people and `study status`),
    `weights.safetensors` (the model, at the end).
    """

    def __init__(self, path: str | Path | None) -> None:
        self.path = None if path is None else Path(path)
        self.log = Log(None if self.path is None else self.path / "log.jsonl")
        self.owner = ""

    def claim(self, model: nn.Module, objective: Objective, data: DataSet, plan: Settings) -> None:
        """Mark the folder as this run's.

        Raises:
            RunConflict: when it is another's.
        """
        if self.path is None:
            return
        description = describe(model, objective, data, plan)
        self.owner = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:16]
        mark = self.path / "fit.json"
        if mark.exists():
            theirs = read_json(mark)
            if theirs.get("owner") != self.owner:
                raise RunConflict(
                    f"{self.path} holds a run with other settings ({difference(theirs.get('run', {}), description)}); "
                    "choose another folder or delete this one"
                )
        elif any((self.path / name).exists() for name in ("checkpoint.safetensors", "weights.safetensors")):
            raise RunConflict(f"{self.path} holds files of an unknown run; choose another folder")
        else:
            write_json(mark, {"owner": self.owner, "run": description})

    @property
    def finished(self) -> bool:
        """Whether the final weights are there."""
        return self.path is not None and (self.path / "weights.safetensors").exists()

    @property
    def precision(self) -> str | None:
        """The precision that an earlier attempt settled on."""
        return self.settled("precision")

    @property
    def layout(self) -> str | None:
        """The layout of images that an earlier attempt settled on."""
        return self.settled("layout")

    def settled(self, name: str) -> str | None:
        """What an earlier attempt found best on its machine, so that a resumed run goes on in the same way."""
        if self.path is None or not (self.path / "state.json").exists():
            return None
        found: str | None = read_json(self.path / "state.json").get(name)
        return found

    def checkpoint(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Replace the checkpoint."""
        if self.path is not None:
            save_tensors(self.path / "checkpoint.safetensors", tensors, state)
            brief = {key: state[key] for key in ("step", "total", "seconds", "stopped", "precision", "layout")}
            write_json(self.path / "state.json", brief)

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The last checkpoint, or None."""
        if self.path is None or not (self.path / "checkpoint.safetensors").exists():
            return None
        return load_tensors(self.path / "checkpoint.safetensors")

    def finish(self, model: nn.Module, step: int, stopped: str) -> None:
        """Leave the final weights."""
        if self.path is not None and not self.finished:
            save_tensors(self.path / "weights.safetensors", model.state_dict(), {"step": step, "stopped": stopped})


def describe(model: nn.Module, objective: Objective, data: DataSet, plan: Settings) -> dict[str, Any]:
    """What makes two runs the same: settings, data, the shapes of the weights and the remedies with their arguments."""
    settings = plan.described()
    for name in ("log_every", "checkpoint_every"):
        del settings[name]
    return {
        "settings": settings,
        "data": data.fingerprint,
        "model": {name: list(value.shape) for name, value in model.state_dict().items()},
        "remedies": [f"{type(remedy).__name__}({remedy.extra_repr()})" for _, remedy in objective.members()],
        "readers": {name: label(getattr(model, name, None)) for name in ("read_q", "read_x", "given_prior")},
    }


def label(thing: Any) -> str:
    """A function by its name, an object by what it prints without its address."""
    name = getattr(thing, "__qualname__", None)
    return str(name) if name else re.sub(r" at 0x[0-9a-f]+", "", repr(thing))


def difference(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    """The first setting in which two runs differ."""
    a, b = theirs.get("settings", {}), ours["settings"]
    for name, value in b.items():
        if a.get(name) != value:
            return f"{name} was {a.get(name)!r}, now {value!r}"
    words = {"data": "data", "remedies": "remedies", "model": "weights' shapes", "readers": "likelihood or prior"}
    for name, word in words.items():
        if theirs.get(name) != ours[name]:
            return f"other {word}"
    return "an unknown difference"
