"""The training loop: one page to read, on Lightning Fabric for devices and precision.

Order of a step: data, noise seed, `before_step`, terms, backward, clip, optimiser, `after_step`. All randomness
is a function of (seed, purpose, step), so a run that was killed repeats the same bits when it resumes.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from uncollapse.board import Board
from uncollapse.data import DataSet, as_data
from uncollapse.errors import NonFinite
from uncollapse.fabric import Engine, interruptible
from uncollapse.fitted import Fit
from uncollapse.inner import Inner
from uncollapse.joining import join, started
from uncollapse.launching import launched
from uncollapse.objective import Objective
from uncollapse.plan import Order, Plateau, Settings, derive
from uncollapse.precision import choose_layout, choose_precision
from uncollapse.processes import using
from uncollapse.processes.shards import entire
from uncollapse.resume import RunFolder
from uncollapse.sharding import shares_out, working_copy
from uncollapse.team import Team
from uncollapse.validation import check_range, scores

__all__ = ["Fit", "fit"]


def fit(
    model: nn.Module,
    data: Any,
    objective: Objective | None = None,
    *,
    folder: str | Path | None = None,
    watch: Callable[[nn.Module], dict[str, float]] | None = None,
    progress: bool | Callable[[int, int, dict[str, Any]], None] = False,
    **settings: Any,
) -> Fit:
    """Train a VAE with any objective.

    Arguments:
        model: a module with `posterior`, `likelihood` and `prior`, such as `VAE`; trained in place.
        data: a `DataSet`, a tensor or array (N, *X), or a pair (train, validation) of them.
        objective: `Objective(remedies)`; the plain negative ELBO if None.
        folder: where to keep log, checkpoints and weights; a half-done run in it is resumed to the same bits,
            a finished one is loaded.
        watch: called with the model at every validation; its numbers join the history.
        progress: True shows a bar; a function is called with (step, total, last record).
        settings: the fields of `Settings`; `batches` or `epochs` is needed.

    Returns:
        A `Fit`.

    Raises:
        BadInput, ShapeError: before training, when model, data or settings do not fit together.
        RunConflict: when the folder belongs to a run with other settings.
        NonFinite: when a term is NaN or infinite; names the term, the step and the examples, and keeps the last
            good state.
        KeyboardInterrupt: on Ctrl-C, at the end of the running step and with a checkpoint written.

    Example:
        >>> model = uncollapse.VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4)
        >>> fit(model, torch.rand(64, 16).round(), batches=10, batch_size=16).steps
        10
    """
    plan, objective = Settings.of(**settings), objective or Objective()
    if started() == 1 and (plan.devices or 1) > 1:
        given = {"folder": folder, "watch": watch, **settings}
        return Fit(**launched(model, objective, as_data(data), given, progress))
    team = join(plan)
    files = RunFolder(folder if team.first else None)
    try:
        with (
            torch.random.fork_rng(),
            working_copy(model, objective, plan, team) as (ours, terms),
            team.at_work(ours, terms),
        ):
            loop = Loop(ours, as_data(data), terms, plan, files, team, watch)
            done = loop.run(progress if team.first else False)
        done.folder = None if folder is None else Path(folder)  # the same in processes that keep nothing there
        done.model, done.objective = model, objective
        return done
    finally:
        files.release()


@dataclass
class Loop:
    """One training run in progress."""

    model: Any  # a module that is also a Model: Python cannot write this type
    data: DataSet
    objective: Objective
    plan: Settings
    files: RunFolder
    team: Team = field(default_factory=Team)
    watch: Callable[[nn.Module], dict[str, float]] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    step: int = 0
    seconds: float = 0.0
    stopped: str = ""

    def __post_init__(self) -> None:
        plan = self.plan
        part = self.data.train
        lengths = part.lengths if part.tokens and plan.bucket else None
        self.order = Order(len(part), plan.batch_size, plan.seed, lengths, plan.bucket)
        self.total = plan.batches or math.ceil((plan.epochs or 0) * self.order.per_epoch)
        self.every = plan.validate_every or self.order.per_epoch
        self.plateau = Plateau(plan.halve_after, plan.halvings, plan.stop_after)
        check_range(self.model, self.data)
        self.precision, layout = self.team.first_does(self.claim)
        self.engine = Engine(self.model, self.objective, plan, self.precision, layout, self.team)
        self.train, self.valid = self.engine.place(self.data.train), self.engine.place(self.data.valid)
        self.sums: dict[str, Tensor] = {}
        self.counted = 0

    def claim(self) -> tuple[str, str]:
        """Take the folder, and settle on a precision and a layout."""
        with using(None):
            self.files.claim(self.model, self.objective, self.data, self.plan)
            precision = self.files.precision or choose_precision(self.model, self.data, self.plan)
            if shares_out(self.plan, self.team):
                return precision, "plain"
            return precision, self.files.layout or choose_layout(self.model, self.data, self.plan, precision)

    def run(self, progress: bool | Callable[[int, int, dict[str, Any]], None]) -> Fit:
        """Train to the end of the budget, to a plateau, or to an interruption."""
        from uncollapse.progress import shown

        self.resume()
        self.learn()
        self.board = Board(None if self.step >= self.total else self.files.path, self.step)
        started = time.monotonic() - self.seconds
        with interruptible() as interrupted, shown(progress, self.total) as report, self.engine.compiling():
            while self.step < self.total and not self.stopped:
                try:
                    self.one_step()
                    self.seconds = time.monotonic() - started
                    if self.step % self.every == 0 or self.step == self.total:
                        self.validate()
                    self.file_away()
                except NonFinite as error:
                    raise NonFinite(f"{error}; {self.rescued()}") from None
                report(self.step, self.total, self.history[-1] if self.history else {})
                if self.asked(interrupted):
                    self.save()
                    raise KeyboardInterrupt(f"stopped after {self.step} of {self.total} batches; run again to resume")
        self.board.close()
        return self.finish()

    def asked(self, interrupted: Callable[[], bool]) -> bool:
        """Whether somebody wants the run to stop; several processes on accelerators ask each other at times only."""
        if self.engine.device.type != "cpu" and self.step % self.plan.log_every and self.team.size > 1:
            return False
        return self.team.any(interrupted(), self.engine.device)

    def rescued(self) -> str:
        """Put good weights into the model after a non-finite number, and say which."""
        if all_finite(entire(self.model.state_dict())):
            return f"the model holds the weights of step {self.step}, before the mishap"
        found = self.team.first_does(self.files.load)
        if found is not None:
            self.engine.restore(found[0], found[1]["lr"])
            return f"the model holds the weights of the last checkpoint, step {found[1]['step']}"
        if self.best:
            self.engine.load(self.model, self.best)
            return f"the model holds the weights of the best validation, step {self.plateau.best_step}"
        return "no earlier weights were kept; give folder= to keep checkpoints"

    def learn(self) -> None:
        """Training mode; asked for where it may have been left, because walking all modules costs time."""
        self.model.train()
        self.objective.train()

    def one_step(self) -> None:
        """Data, noise, inner work, terms, backward, clip, optimiser, state."""
        indices = self.order.indices(self.step)
        self.engine.seed(derive(self.plan.seed, "noise", self.step))
        x = self.train.take(indices, self.engine.device)
        frozen = self.objective.before_step(Inner(self, x))
        with self.engine.sparing(frozen):
            terms = self.engine.terms(x)
            means = torch.stack([term.detach() for term in terms.values()]).mean(1)
            self.engine.guard(means, terms, indices, self.step)
            self.engine.move(reduce(torch.add, terms.values()).mean(), frozen)
        self.objective.after_step(self.model)
        self.step += 1
        self.tally(list(terms), means)

    def tally(self, names: list[str], means: Tensor) -> None:
        """Keep running sums on the device; nothing waits for them until a line is logged."""
        if not self.counted:
            self.names, self.sums = names, {"terms": torch.zeros_like(means)}
        self.sums["terms"] += means
        self.counted += 1

    def means(self) -> dict[str, float]:
        """Mean training terms since the last call."""
        if not self.counted:
            return {}
        values = (self.sums["terms"] / self.counted).tolist()
        self.counted = 0
        return dict(zip(self.names, values, strict=True))

    def validate(self) -> None:
        """Score the model on the validation part, note it, and let plateaus act."""
        record: dict[str, Any] = {"step": self.step, "epoch": self.order.epoch(self.step), "train": self.means()}
        bounds = self.objective.bounds(record["train"], self.plan.batch_size)
        record |= {"bounds": bounds} if bounds else {}
        self.team.check_alike(self.engine.step, self.step)
        record["valid"] = scores(self.model, self.objective, self.valid, self.plan, self.engine)
        if self.watch is not None:
            record.update(self.watch(self.model))
            self.learn()
        self.history.append(record)
        self.files.log.append(event="validation", total=self.total, weights=self.objective.weights(), **record)
        self.board.add("validation", {name: value for name, value in record.items() if name != "train"}, self.step)
        if self.plateau.see(record["valid"]["score"], self.step, patient=self.step < self.objective.arrives):
            self.best = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        if self.plateau.halve():
            self.engine.halve()
        self.stopped = self.plateau.over or ""

    def file_away(self) -> None:
        """Log and checkpoint when it is time."""
        if self.step % self.plan.log_every == 0 and self.counted:
            terms = self.peek()
            self.files.log.append(
                event="train", step=self.step, total=self.total, seconds=round(self.seconds, 3), **terms
            )
            self.board.add("train", terms, self.step)
        if self.step % (self.plan.checkpoint_every or self.every) == 0 or self.stopped:
            self.save()

    def peek(self) -> dict[str, float]:
        """Mean training terms so far, without starting anew."""
        counted, terms = self.counted, self.means()
        self.counted = counted
        return terms

    def save(self) -> None:
        """Write a checkpoint from which the run goes on with the same bits."""
        if self.team.first_does(lambda: self.files.path is not None):
            tensors = entire(self.engine.state() | {f"best.{name}": value for name, value in self.best.items()})
            self.team.first_does(lambda: self.write(tensors))

    def write(self, tensors: dict[str, Tensor]) -> None:
        """The files of a checkpoint."""
        if self.counted:
            tensors["sums"] = self.sums["terms"]
        if not all_finite(tensors):
            raise NonFinite(
                f"a weight became NaN or infinite by step {self.step} although the loss was finite; "
                "lower the learning rate or set clip="
            )
        self.files.checkpoint(tensors, self.scalars())

    def scalars(self) -> dict[str, Any]:
        """The part of the state that is not tensors."""
        return {
            "step": self.step, "total": self.total, "seconds": self.seconds, "stopped": self.stopped,
            "precision": self.precision, "layout": self.engine.layout, "lr": self.engine.lr,
            "plateau": dict(vars(self.plateau)), "history": self.history,
            "counted": self.counted, "names": self.names if self.counted else [],
        }  # fmt: skip

    def resume(self) -> None:
        """Take up the state of an earlier attempt, if there is one."""
        found = self.team.first_does(self.files.load)
        if found is None:
            return
        tensors, state = found
        self.engine.restore(tensors, state["lr"])
        self.best = {name[5:]: value for name, value in tensors.items() if name.startswith("best.")}
        self.step, self.seconds, self.stopped = state["step"], state["seconds"], state["stopped"]
        self.history, self.counted, self.names = state["history"], state["counted"], state["names"]
        if self.counted:
            self.sums = {"terms": tensors["sums"].to(self.engine.device)}
        vars(self.plateau).update(state["plateau"])
        self.files.log.rewind(self.step)

    def finish(self) -> Fit:
        """Put the weights that were asked for into the model and leave them in the folder."""
        self.stopped = self.stopped or "budget spent"
        self.engine.release()
        if not self.team.first_does(lambda: self.files.finished):
            self.save()
        if self.plan.keep == "best" and self.best:
            self.engine.load(self.model, self.best)
        last = entire(self.model.state_dict())
        self.team.first_does(lambda: self.files.finish(last, self.step, self.stopped))
        best = entire(self.best) or {name: value.detach().clone() for name, value in last.items()}
        return Fit(
            self.model, self.objective, self.history, best, self.plateau.best_step, self.step,
            self.stopped, self.precision, self.seconds, self.files.path, [*self.files.remarks, *self.engine.remarks],
            self.team.size,
        )  # fmt: skip


def all_finite(tensors: dict[str, Tensor]) -> bool:
    """Whether no number is NaN or infinite."""
    return all(bool(value.isfinite().all()) for value in tensors.values() if value.is_floating_point())
