"""Rescue of a trained model whose posterior has collapsed, with what it was before and what it is after."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from uncollapse.codes import Codes
from uncollapse.data import DataSet, as_data
from uncollapse.errors import BadInput, RunConflict
from uncollapse.fit import Fit, fit
from uncollapse.metrics import Estimate, active_units, kl, mutual_information, nll, shuffle_gap
from uncollapse.objective import Objective
from uncollapse.plan import Settings, derive
from uncollapse.remedies import Remedy, Rescue
from uncollapse.remedies.rate import FreeBitsMode
from uncollapse.remedies.rescue import check_decoder
from uncollapse.store import read_json, write_json
from uncollapse.verdict import Verdict, verdict

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Condition", "Rescued", "rescue"]

Progress = bool | Callable[[int, int, dict[str, Any]], None]

ROWS = {
    "mi_lower": "information, at least",
    "mi_upper": "information, at most",
    "kl": "KL",
    "active_units": "active units",
    "shuffle_gap": "loss when z is shuffled",
    "negative_elbo": "negative ELBO",
    "nll": "NLL",
}  #: metrics and what they are called in the table


@dataclass(frozen=True)
class Condition:
    """What was measured of a model at one time.

    Attributes:
        verdict: the word and its reasons.
        metrics: estimates by name: mi_lower, mi_upper, kl, active_units, shuffle_gap, negative_elbo, nll.
    """

    verdict: Verdict
    metrics: dict[str, Estimate]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "verdict": {"word": self.verdict.word, "reasons": list(self.verdict.reasons)},
            "metrics": {name: value.to_dict() for name, value in self.metrics.items()},
        }

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Condition":
        """What `to_dict` gave."""
        metrics = {name: estimate(**values) for name, values in plain["metrics"].items()}
        return cls(Verdict(**plain["verdict"]), metrics)


@dataclass(frozen=True, repr=False)
class Rescued:
    """A rescue and what it achieved; it prints as a table.

    Attributes:
        model: the model, trained in place.
        before, after: its condition, on the same examples with the same noise.
        pretraining: how the autoencoder was trained.
        training: how the model was trained from the reset on.
        settings: pretrain, anneal, floor, mode, reset, batches.
    """

    model: nn.Module
    before: Condition
    after: Condition
    pretraining: Fit
    training: Fit
    settings: dict[str, Any]

    def __repr__(self) -> str:
        words = [f"{one.verdict.word} ({one.metrics['mi_lower'].value:.2f} nats)" for one in (self.before, self.after)]
        return f"Rescued({' -> '.join(words)})"

    def __str__(self) -> str:
        """The table, as text."""
        lines = [("", "before", "after"), *self.rows()]
        widths = [max(len(line[place]) for line in lines) for place in range(3)]
        return "\n".join(
            f"{name:<{widths[0]}}  {one:>{widths[1]}}  {two:>{widths[2]}}".rstrip() for name, one, two in lines
        )

    def __rich__(self) -> "Table":
        """The table, for rich."""
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("")
        for name in ("before", "after"):
            table.add_column(name, justify="right")
        for row in self.rows():
            table.add_row(*row)
        return table

    def rows(self) -> list[tuple[str, str, str]]:
        """The lines of the table: what, before, after."""
        lines = [("verdict", self.before.verdict.word, self.after.verdict.word)]
        for key, name in ROWS.items():
            before, after = self.before.metrics[key], self.after.metrics[key]
            lines.append((f"{name} (nats)" if before.unit == "nats" else name, text(before), text(after)))
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        fits = {"pretraining": self.pretraining, "training": self.training}
        return {
            "settings": self.settings,
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            **{
                name: {"steps": one.steps, "stopped": one.stopped, "seconds": round(one.seconds, 2)}
                for name, one in fits.items()
            },
        }


def rescue(
    model: nn.Module,
    data: Any,
    *,
    batches: int,
    pretrain: int | None = None,
    anneal: int | None = None,
    floor: float = 0.25,
    mode: FreeBitsMode = "per_dimension",
    reset: bool = True,
    remedies: Sequence[Remedy] = (),
    part: str = "test",
    nll_samples: int = 50,
    folder: str | Path | None = None,
    progress: Progress = False,
    **settings: Any,
) -> Rescued:
    """Make a collapsed checkpoint informative: measure it, train it as `remedies.Rescue` says, and measure it again.

    The encoder is trained on as an autoencoder's, the decoder starts afresh, and the weight of the KL rises from 0 to
    1. With the decoder the optimiser starts afresh. The last weights are kept; keep="best" takes those of the best
    score from the reset on, which may be ones with less information.

    The bound is likely to get worse, because training had found it best to collapse; look at what the information
    is worth to you. A model whose verdict is not a collapse loses its decoder here like any other.

    Arguments:
        model: the trained model; it is changed in place.
        data: as for `fit`.
        batches: length of the whole rescue.
        pretrain: batches as an autoencoder; a quarter of all if None.
        anneal: batches over which the weight of the KL rises; a quarter of all if None.
        floor, mode, reset: as for `remedies.Rescue`; nats, per latent for the mode "per_dimension".
        remedies: more remedies, after the rescue in the order of composition.
        part: what is measured, "test" or "valid".
        nll_samples: K of the likelihood's bound.
        folder: where to keep both trainings and the measurements; a half-done rescue in it is resumed, and keeps
            its first measurement of the model.
        progress: as for `fit`.
        settings: the fields of `Settings` beside `batches` and `epochs`.

    Returns:
        A `Rescued`.

    Raises:
        BadInput, ShapeError: when model, data or settings do not fit together.
        Unsupported: when the decoder cannot start afresh.
        RunConflict: when the folder belongs to a rescue with other settings.
        NonFinite, KeyboardInterrupt: as for `fit`.

    References:
        Li et al., 2019, https://arxiv.org/abs/1909.00868.

    Example:
        >>> model = uncollapse.VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4)
        >>> found = rescue(model, torch.rand(64, 16).round(), batches=20, batch_size=16, nll_samples=5)
        >>> found.settings["pretrain"], found.training.steps, found.after.metrics["nll"].unit
        (5, 15, 'nats')
    """
    batches, pretrain, anneal = phases(batches, pretrain, anneal)
    first, second = plans(settings, pretrain, batches - pretrain)
    remedy = Rescue(pretrain, anneal, floor, mode, reset)
    objective, data = Objective([remedy, *remedies]), as_data(data)
    if part not in {"test", "valid"}:
        raise BadInput(f"part should be test or valid, got {part!r}")
    if reset:
        check_decoder(model)
    place = None if folder is None else Path(folder)
    seed = settings.get("seed", 0)

    def look() -> Condition:
        return condition(model, data, part, nll_samples, derive(seed, "measure"))

    before = remembered(place, look, {"part": part, "nll_samples": nll_samples, "data": data.fingerprint})
    halves = [None, None] if place is None else [place / "pretraining", place / "training"]
    pretraining, training = (
        fit(model, data, objective, folder=half, progress=progress, **plan)
        for half, plan in zip(halves, (first, second), strict=True)
    )
    given = {
        "batches": batches, "pretrain": pretrain, "anneal": anneal, "floor": floor, "mode": mode, "reset": reset,
    }  # fmt: skip
    done = Rescued(model, before, look(), pretraining, training, given)
    if place is not None:
        write_json(place / "rescue.json", done.to_dict())
    return done


def phases(batches: Any, pretrain: Any, anneal: Any) -> tuple[int, int, int]:
    """Lengths of the whole and of the first two phases, batches."""
    if isinstance(batches, bool) or not isinstance(batches, int) or batches < 3:
        raise BadInput(f"batches should be a whole number of at least 3, one for each phase, got {batches!r}")
    quarter = max(batches // 4, 1)
    pretrain, anneal = (quarter if given is None else given for given in (pretrain, anneal))
    if isinstance(pretrain, int) and isinstance(anneal, int) and pretrain + anneal > batches:
        raise BadInput(
            f"pretrain ({pretrain}) and anneal ({anneal}) are longer than all {batches} batches; the weight of the KL "
            "would never arrive"
        )
    return batches, pretrain, anneal


def plans(settings: dict[str, Any], pretrain: int, rest: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of both trainings; the first ends where its budget ends, with its last weights."""
    if "epochs" in settings:
        raise BadInput("rescue counts in batches, so give batches=... and not epochs=...")
    seed = settings.get("seed", 0)
    patience = dict.fromkeys(("halve_after", "halvings", "stop_after"))
    first = {**settings, **patience, "batches": pretrain, "keep": "last"}
    second = {"keep": "last", **settings, "batches": rest, "seed": derive(seed, "rescue")}  # noise of its own
    for plan in (settings | {"batches": rest}, first, second):
        Settings.of(**plan)
    return first, second


def condition(model: Any, data: DataSet, part: str, samples: int, seed: int) -> Condition:
    """Measure a model on a part of the data."""
    examples = data.parts[part]
    codes = Codes.of(model, examples, seed=seed)
    bracket, units, rate = mutual_information(codes), active_units(codes), kl(codes)
    gap = shuffle_gap(model, examples, seed=seed)
    metrics: dict[str, Estimate] = {
        "mi_lower": bracket.lower, "mi_upper": bracket.upper, "kl": rate, "active_units": units, "shuffle_gap": gap,
        "negative_elbo": nll(model, examples, samples=1, seed=seed),
        "nll": nll(model, examples, samples=samples, seed=seed),
    }  # fmt: skip
    return Condition(verdict(rate, bracket, units, gap), metrics)


def remembered(place: Path | None, look: Callable[[], Condition], how: dict[str, Any]) -> Condition:
    """The first measurement: an earlier attempt's, because by now the model may be half rescued, or one of now."""
    if place is None:
        return look()
    path = place / "before.json"
    if not path.exists():
        found = look()
        write_json(path, {"how": how, **found.to_dict()})
        return found
    stored = read_json(path)
    for name, value in how.items():
        if stored["how"].get(name) != value:
            raise RunConflict(
                f"{place} holds a rescue that was measured with {name}={stored['how'].get(name)!r}, now {value!r}; "
                "choose another folder or delete this one"
            )
    return Condition.from_dict(stored)


def estimate(value: float | None, se: float | None, n: int, unit: str, flags: list[str]) -> Estimate:
    """An estimate from its plain values."""
    number, error = (math.nan if one is None else one for one in (value, se))
    return Estimate(number, error, n, unit, tuple(flags))


def text(value: Estimate) -> str:
    """A number with its standard error."""
    if value.unit != "nats":
        return f"{value.value:.0f}"
    return f"{value.value:.2f}" if math.isnan(value.se) else f"{value.value:.2f} ± {value.se:.2f}"
