"""`fit_seeds`: the same training from several seeds."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from uncollapse.data import DataSet, as_data
from uncollapse.errors import BadInput
from uncollapse.fit import Fit, Loop, fit
from uncollapse.objective import Objective
from uncollapse.plan import Settings
from uncollapse.precision import flops
from uncollapse.progress import shown
from uncollapse.resume import RunFolder
from uncollapse.seeds.choice import WAYS, choose, refusal
from uncollapse.seeds.lockstep import train_together
from uncollapse.seeds.processes import train_apart
from uncollapse.validation import check_range

__all__ = ["Fits", "fit_seeds"]

Progress = bool | Callable[[int, int, dict[str, Any]], None]


class Fits(list[Fit]):
    """What `fit_seeds` returns: one `Fit` a seed, in the order of the seeds.

    Attributes:
        how: "stacked", "processes" or "sequential", as it was done.
        why: the reason for it.
    """

    def __init__(self, fits: Iterable[Fit], how: str, why: str) -> None:
        super().__init__(fits)
        self.how, self.why = how, why


def fit_seeds(
    make: Callable[[int], nn.Module] | Sequence[nn.Module],
    data: Any,
    seeds: Sequence[int] = (0, 1, 2, 3),
    objective: Callable[[], Objective] | None = None,
    *,
    how: Literal["auto", "stacked", "processes", "sequential"] = "auto",
    folder: str | Path | None = None,
    watch: Callable[[nn.Module], dict[str, float]] | None = None,
    progress: Progress = False,
    **settings: Any,
) -> Fits:
    """Train one model from several seeds, in the way that is the fastest for its size.

    Every result is that of `fit(make(seed), data, objective(), seed=seed, **settings)`: the same data in the same
    order, the same noise, the same validations, halvings and ends.

    Arguments:
        make: builds the model of a seed; torch's random stream is seeded with it before. Or the models, one a seed,
            which are trained in place.
        data: as for `fit`.
        seeds: whole numbers, each once.
        objective: builds an `Objective`, called once a seed after `make`; the plain negative ELBO if None.
        how: "stacked" trains all seeds in one pass, with their weights stacked: the results are equal to rounding in
            fp32. "processes" takes a process a seed with one thread each, "sequential" one seed after the other:
            these are equal to the bit (at the same number of threads). "auto" chooses, see below.
        folder: holds one folder a seed, `seed-0` and so on, each as `fit` keeps and resumes it, whatever the way.
        watch: as for `fit`.
        progress: True shows a bar over all seeds; a function is called with (step, total, last record), both
            counted over all seeds.
        settings: the fields of `Settings` but `seed`.

    "auto" stacks where it can on an accelerator, and where a forward pass of a batch takes at most 5e8 FLOPs (1e8 with
    convolutions): there the seeds share the overhead of a step, which is much of it. Larger models are trained in
    processes if torch has several threads and the work is worth their start (about a minute of it), else in turn.

    Returns:
        A list of `Fit` with `how` it was done and `why`. The `seconds` of a stacked run are its share.

    Raises:
        BadInput: when seeds, models or settings make no sense, "stacked" is asked for and not possible, or
            something cannot be sent to a process.
        NonFinite, RunConflict, KeyboardInterrupt: as `fit`; all seeds end, and go on from their folders.

    Example:
        >>> def make(seed):
        ...     return uncollapse.VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4)
        >>> runs = fit_seeds(make, torch.rand(64, 16).round(), seeds=(0, 1), batches=10, batch_size=16)
        >>> runs.how, [run.steps for run in runs]
        ('stacked', [10, 10])
    """
    seeds = checked(seeds, settings, how)
    plan, ready = Settings.of(**settings), as_data(data)
    with torch.random.fork_rng():
        models, objectives = built(make, objective, seeds)
        check_range(models[0], ready)
        way, why = decided(how, models, objectives, ready, plan)
    runs = [
        {"seed": seed, "watch": watch, "folder": None if folder is None else Path(folder) / f"seed-{seed}", **settings}
        for seed in seeds
    ]
    train = {"stacked": stacked, "processes": apart, "sequential": in_turn}[way]
    return Fits(train(models, objectives, ready, runs, progress), way, why)


def checked(seeds: Any, settings: dict[str, Any], how: str) -> list[int]:
    """The seeds, if they make sense."""
    if "seed" in settings:
        raise BadInput("fit_seeds takes seeds=(0, 1, ...), not seed=")
    if how not in WAYS:
        raise BadInput(f"how should be one of {', '.join(WAYS)}, got {how!r}")
    whole = isinstance(seeds, Sequence) and all(isinstance(s, int) and not isinstance(s, bool) for s in seeds)
    if not whole or not seeds or len(set(seeds)) != len(seeds):
        raise BadInput(f"seeds should be whole numbers, each once, such as (0, 1, 2, 3), got {seeds!r}")
    return list(seeds)


def built(make: Any, objective: Any, seeds: list[int]) -> tuple[list[Any], list[Objective]]:
    """A model and an objective for every seed, each after seeding the random stream."""
    if isinstance(objective, Objective):
        raise BadInput("an objective keeps a state, so every seed needs its own: give a function that makes one")
    if not callable(make) and not isinstance(make, Sequence):
        raise BadInput(f"make should be a function of the seed, or a list of models, got a {type(make).__name__}")
    if not callable(make) and len(make) != len(seeds):
        raise BadInput(f"one model a seed is needed, got {len(make)} for {len(seeds)} seeds")
    models, objectives = [], []
    for place, seed in enumerate(seeds):
        torch.manual_seed(seed)
        models.append(make(seed) if callable(make) else make[place])
        if not isinstance(models[-1], nn.Module):
            raise BadInput(f"make should return a torch module for every seed, got a {type(models[-1]).__name__}")
        objectives.append(Objective() if objective is None else objective())
    if len({id(p) for one in models for p in one.parameters()}) != sum(len(list(one.parameters())) for one in models):
        raise BadInput("the models share parameters: every seed needs a model of its own")
    return models, objectives


def decided(how: str, models: list[Any], objectives: list[Objective], data: DataSet, plan: Settings) -> tuple[str, str]:
    """The way and the reason."""
    if how == "auto":
        return choose(models, objectives, data, plan)
    if how == "stacked":
        reason = refusal(models, objectives, data, plan)
        if reason:
            raise BadInput(f"these seeds cannot be stacked: {reason}; take how='auto'")
    return how, "asked for"


def stacked(
    models: list[Any], objectives: list[Objective], data: DataSet, runs: list[dict[str, Any]], progress: Progress
) -> list[Fit]:
    """All seeds in one pass."""
    loops: list[Loop] = []
    with torch.random.fork_rng(), ExitStack() as folders:
        for model, objective, run in zip(models, objectives, runs, strict=True):
            rest = {key: value for key, value in run.items() if key not in {"watch", "folder"}}
            plan, files = Settings.of(**rest), RunFolder(run["folder"])
            folders.callback(files.release)
            loops.append(Loop(model, data, objective, plan, files, watch=run["watch"]))
            loops[-1].train, loops[-1].valid = loops[0].train, loops[0].valid  # one copy on the device
        work = flops(models[0], data, loops[0].plan) * len(models)
        with shown(progress, sum(loop.total for loop in loops)) as report, threads_for(work):
            return train_together(loops, report)


@contextmanager
def threads_for(work: float) -> Iterator[None]:
    """One thread for steps so small that two spend their time waiting for each other; as many as torch has for others.

    Arguments:
        work: FLOPs of a forward pass.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1 if work < SHORT else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


SHORT = 2e8  #: FLOPs of a forward pass of all seeds below which one thread is faster than several


def apart(
    models: list[Any], objectives: list[Objective], data: DataSet, runs: list[dict[str, Any]], progress: Progress
) -> list[Fit]:
    """A process a seed."""
    ended: list[Fit] = []
    with shown(progress, len(runs)) as report:

        def note(one: Fit) -> None:
            ended.append(one)
            report(len(ended), len(runs), one.history[-1] if one.history else {})

        return train_apart(models, objectives, data, runs, note)


def in_turn(
    models: list[Any], objectives: list[Objective], data: DataSet, runs: list[dict[str, Any]], progress: Progress
) -> list[Fit]:
    """One seed after the other."""
    done: list[Fit] = []
    with shown(progress, 1) as report:
        for model, objective, run in zip(models, objectives, runs, strict=True):

            def note(step: int, total: int, record: dict[str, Any]) -> None:
                report(len(done) * total + step, len(runs) * total, record)

            done.append(fit(model, data, objective, progress=note, **run))
    return done
