"""The folder of one run: whose it is, its log, its checkpoints, its final weights."""

import hashlib
import json
import re
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from uncollapse.claim import Claim, Inherited, hold
from uncollapse.data import DataSet
from uncollapse.drafts import sweep
from uncollapse.errors import Damaged, RunConflict, WorkFailed
from uncollapse.log import Log
from uncollapse.objective import Objective
from uncollapse.plan import Settings
from uncollapse.store import (
    GENERATIONS,
    check_format,
    json_text,
    load_tensors,
    read_json,
    save_tensors,
    set_aside,
    write_json,
    write_text,
)

__all__ = ["RunFolder"]

FORMAT = 1  #: of fit.json
WEIGHTS = "weights.safetensors"


class RunFolder:
    """Where a run keeps what it needs to resume; without a path nothing is kept.

    Files: `fit.json` (what is trained here), `log.jsonl`, `checkpoint.safetensors` (everything, with the scalars in
    its header, so that it is replaced as one) and the one before it, `checkpoint.previous.safetensors`, `state.json`
    (how far it is, for people and `study status`), `weights.safetensors` (the model, at the end).

    Whatever is damaged is moved aside, never deleted, and said in `remarks`: from the newest sound checkpoint, or from
    the beginning, the run ends with the same bits.

    Attributes:
        path: the folder, or None.
        log: of the run.
        owner: the digest of what is trained here.
        remarks: what was found damaged, by this attempt or an earlier one.
    """

    def __init__(self, path: str | Path | None) -> None:
        self.path = None if path is None else Path(path)
        self.log = Log(None if self.path is None else self.path / "log.jsonl")
        self.owner = ""
        self.remarks: list[str] = []
        self.held: tuple[dict[str, Tensor], dict[str, Any]] | None = None
        self.lease: Claim | Inherited | None = None

    def claim(self, model: nn.Module, objective: Objective, data: DataSet, plan: Settings) -> None:
        """Mark the folder as this run's, and keep other processes out of it until `release`.

        Raises:
            RunConflict: when it is another's, or another process works in it.
            Outdated: when a newer version of the package left something here.
        """
        if self.path is None:
            return
        description = describe(model, objective, data, plan)
        self.owner = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:16]
        with suppress(WorkFailed):  # a folder of another run is left as it is, without a claim
            self.refuse_others(read_json(self.path / "fit.json"), description)
        try:
            self.lease = hold(self.path)
        except WorkFailed:
            if not self.finished:  # a finished run can be taken from a folder that is for reading only
                raise
        sweep(self.path)
        theirs = self.mark()
        if theirs is None:
            self.check_unmarked()
            head = {"format": FORMAT, "version": version("uncollapse"), "owner": self.owner}
            write_json(self.path / "fit.json", {**head, "run": description})
        else:
            self.refuse_others(theirs, description)
        if not any((self.path / name).exists() for name in GENERATIONS):
            self.log.rewind(0)  # an attempt that was killed before its first checkpoint

    def refuse_others(self, theirs: Any, description: dict[str, Any]) -> None:
        """Raise when what `fit.json` says belongs to a run with other settings."""
        if isinstance(theirs, dict) and theirs.get("owner", self.owner) != self.owner:
            raise RunConflict(
                f"{self.path} holds a run with other settings ({difference(theirs.get('run', {}), description)}); "
                "choose another folder or delete this one"
            )

    def release(self) -> None:
        """Let other processes have the folder."""
        if self.lease is not None:
            self.lease.release()
            self.lease = None

    def mark(self) -> dict[str, Any] | None:
        """What `fit.json` says, or None where it is missing or damaged."""
        path = self.folder / "fit.json"
        if not path.exists():
            return None
        try:
            found = read_json(path)
            if not isinstance(found, dict) or not isinstance(found.get("run"), dict) or "owner" not in found:
                raise Damaged(f"{path} does not say whose run it is")
            check_format(path, found.get("format", 1), FORMAT, found.get("version"))
        except Damaged as error:
            self.put_aside(path, error)
            return None
        return found

    def check_unmarked(self) -> None:
        """Without a sound `fit.json`, checkpoints and weights say whose they are."""
        for name in (*GENERATIONS, WEIGHTS):
            found = self.sound(self.folder / name)
            if found is not None and found[1].get("owner") != self.owner:
                raise RunConflict(f"{self.path} holds files of an unknown run; choose another folder")

    @property
    def folder(self) -> Path:
        """The path, where there is one."""
        assert self.path is not None
        return self.path

    def sound(self, path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """A file of tensors, or None where it is missing or damaged."""
        if not path.exists():
            return None
        try:
            return load_tensors(path)
        except Damaged as error:
            self.put_aside(path, error)
            return None

    def put_aside(self, path: Path, error: Damaged) -> None:
        """Move a damaged file out of the way and remember it."""
        aside = set_aside(path)
        self.remarks.append(f"{path.name} was damaged and is kept as {aside.name} ({error})")

    @property
    def finished(self) -> bool:
        """Whether the final weights are there, and sound."""
        return self.path is not None and self.sound(self.path / WEIGHTS) is not None

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
        if self.path is None:
            return None
        self.held = self.held or self.newest()
        state: Any = self.held[1] if self.held is not None else {}
        if self.held is None:
            with suppress(WorkFailed):  # it is there for people; without it the choice is made anew
                state = read_json(self.path / "state.json")
        found = state.get(name) if isinstance(state, dict) else None
        return found if isinstance(found, str) else None

    def checkpoint(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Write a checkpoint, and keep the one before it."""
        if self.path is None:
            return
        if self.lease is not None:
            self.lease.check()
        newest, previous = (self.path / name for name in GENERATIONS)
        state = {**state, "owner": self.owner, "remarks": self.remarks}
        try:
            save_tensors(newest, tensors, state, keep=previous)
        except WorkFailed:
            if not (newest.exists() and previous.exists()):
                raise
            previous.unlink()  # a disk that is full has room for two, if not for three
            save_tensors(newest, tensors, state, keep=previous)
        brief = {key: state[key] for key in ("step", "total", "seconds", "stopped", "precision", "layout")}
        write_text(self.path / "state.json", json_text(brief), lasting=False)  # a reader's comfort

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The last sound checkpoint, or None."""
        found, self.held = self.held or self.newest(), None
        return found

    def newest(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The newest checkpoint that is sound; its remarks join those of this attempt."""
        if self.path is None:
            return None
        there = any((self.path / name).exists() for name in GENERATIONS)
        for name in GENERATIONS:
            found = self.sound(self.path / name)
            if found is not None and "step" in found[1]:
                self.remarks = list(dict.fromkeys([*found[1].get("remarks", []), *self.remarks]))
                return found
        if there:
            self.remarks.append("no checkpoint was sound, so the run was trained from its beginning")
            self.log.rewind(0)
        return None

    def finish(self, weights: dict[str, Tensor], step: int, stopped: str) -> None:
        """Leave the final weights."""
        if self.path is not None and not self.finished:
            state = {"step": step, "stopped": stopped, "owner": self.owner}
            save_tensors(self.path / WEIGHTS, weights, state)


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
