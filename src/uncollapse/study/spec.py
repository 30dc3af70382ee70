"""What a study is: frozen descriptions of plain values that hash to the folder of their run."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import uncollapse
from uncollapse.errors import BadInput
from uncollapse.plan import Settings

__all__ = ["Arm", "Measure", "ModelSpec", "Run", "Study"]

Named = str | dict[str, Any]
Remedies = list[str | dict[str, dict[str, Any]]]


@dataclass(frozen=True)
class ModelSpec:
    """A network by name: encoder, decoder, latents and likelihood.

    Attributes:
        encoder, decoder: a name of `uncollapse.nets`, or {name: ..., option: value}.
        latent: D.
        likelihood: a setting of `uncollapse.likelihoods`, such as "bernoulli" or {"gaussian": standard deviation}; None
            takes the one of the data.
        wrap: wrappers of `uncollapse.wrappers`, {Name: {argument: value}}, from the inside out.
    """

    encoder: Named = "mlp"
    decoder: Named = "mlp"
    latent: int = 16
    likelihood: str | dict[str, float | str] | None = None
    wrap: Remedies = field(default_factory=list)


@dataclass(frozen=True)
class Measure:
    """What is measured at the end of a run, and along the way.

    Attributes:
        nll_samples: K of the importance-weighted bound.
        k: nearest neighbours for density and coverage.
        samples: prior samples for density and coverage; None takes as many as there are test examples.
        history: whether the bracket, KL and active units are measured on the validation part along the way.
        images: pictures or texts kept for the page, per kind.
        noise: variances of the noise test (`metrics.noise_gap`); none by default.
        nll_examples: how many test examples the likelihood is measured on; None takes all.
        knn: nearest neighbours that vote in a second probe; None leaves it out.
        legacy: the papers' own formulas, {key: {formula: name of `metrics.legacy`, argument: value}}.
        local: test examples for the decoder's local constants (`metrics.lipschitz`); 0 leaves them out.
    """

    nll_samples: int = 500
    k: int = 5
    samples: int | None = None
    history: bool = True
    images: int = 8
    noise: list[float] = field(default_factory=list)
    nll_examples: int | None = None
    knn: int | None = None
    legacy: dict[str, dict[str, Any]] = field(default_factory=dict)
    local: int = 0


@dataclass(frozen=True)
class Run:
    """One training run with its measurements: plain values that hash to a folder.

    Attributes:
        data: name of a data set, or {name: ..., option: value}.
        model: the networks.
        remedies: a list of {Name: {argument: value}}, in order of composition.
        fit: fields of `uncollapse.plan.Settings` without the seed.
        measure: what is measured.
        seed: of weights, data order and noise. The split of the data has its own seed, an option of the data.
        arm: the name of the method in tables.
        note: a remark for tables and pages.
    """

    data: Named = "digits"
    model: ModelSpec = field(default_factory=ModelSpec)
    remedies: Remedies = field(default_factory=list)
    fit: dict[str, Any] = field(default_factory=dict)
    measure: Measure = field(default_factory=Measure)
    seed: int = 0
    arm: str = "run"
    note: str = ""

    def __post_init__(self) -> None:
        if "seed" in self.fit:
            raise BadInput("fit.seed is set by the seed of the run; remove it")
        self.settings()

    def settings(self) -> Settings:
        """The settings of training, with the run's seed."""
        return Settings.of(**self.fit, seed=self.seed)

    @property
    def data_name(self) -> str:
        """The name of the data set."""
        return self.data if isinstance(self.data, str) else str(self.data.get("name", ""))

    @property
    def data_options(self) -> dict[str, Any]:
        """The options of the data set."""
        return {} if isinstance(self.data, str) else {k: v for k, v in self.data.items() if k != "name"}

    def describe(self) -> dict[str, Any]:
        """Plain values, for JSON and for hashing; defaults are written out so that they cannot drift."""
        settings = self.settings().described()
        del settings["seed"]
        return {**asdict(self), "fit": settings}

    def hash(self, fingerprint: str) -> str:
        """The name of the run's folder, from its description, the data and the package version."""
        whole = {"run": self.describe(), "data": fingerprint, "version": uncollapse.__version__}
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Arm:
    """One method of a study: its remedies, and what it changes in the common settings.

    Attributes:
        name: in tables.
        remedies: as in `Run`.
        data, model, fit, measure: overrides of the study's sections, key by key.
        note: a remark.
    """

    name: str
    remedies: Remedies = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    fit: dict[str, Any] = field(default_factory=dict)
    measure: dict[str, Any] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Study:
    """Methods x seeds on common ground.

    Attributes:
        name: of the study and of its folder.
        arms: the methods; the first one is the baseline of paired differences.
        data, model, fit, measure: common settings, as in `Run`.
        seeds: every arm runs with every seed.
        title, note: for the page.
    """

    name: str
    arms: list[Arm]
    data: Named = "digits"
    model: ModelSpec = field(default_factory=ModelSpec)
    fit: dict[str, Any] = field(default_factory=dict)
    measure: Measure = field(default_factory=Measure)
    seeds: list[int] = field(default_factory=lambda: [0])
    title: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.arms]
        if not names or not self.seeds:
            raise BadInput("a study needs at least one arm and one seed")
        several: list[tuple[str, list[Any]]] = [("arm", names), ("seed", list(self.seeds))]
        for what, values in several:
            twice = [value for value in values if values.count(value) > 1]
            if twice:
                raise BadInput(f"every {what} of a study should occur once, {twice[0]!r} occurs more often")
        if not self.name or any(sign in self.name for sign in "/\\") or self.name.startswith("."):
            raise BadInput(f"the name of a study is the name of its folder, so {self.name!r} will not do")

    def runs(self) -> list[Run]:
        """Every run, seed by seed, so that a study that is cut short has whole comparisons."""
        return [self.run(arm, seed) for seed in self.seeds for arm in self.arms]

    def run(self, arm: Arm, seed: int) -> Run:
        """The run of one arm and one seed."""
        data = {"name": self.data} if isinstance(self.data, str) else self.data
        return Run(
            data={**data, **arm.data},
            model=replaced(self.model, arm.model, "model"),
            remedies=arm.remedies,
            fit={**self.fit, **arm.fit},
            measure=replaced(self.measure, arm.measure, "measure"),
            seed=seed,
            arm=arm.name,
            note=arm.note,
        )

    def header(self, command: str = "") -> dict[str, Any]:
        """What a report needs to know beside the results."""
        return {
            "name": self.name, "title": self.title or self.name, "note": self.note, "command": command,
            "arms": [arm.name for arm in self.arms], "seeds": list(self.seeds), "baseline": self.arms[0].name,
        }  # fmt: skip


def replaced(section: Any, changes: Mapping[str, Any], name: str) -> Any:
    """A section with some fields changed; an unknown field is an error."""
    known = [one.name for one in fields(section)]
    for key in changes:
        if key not in known:
            raise BadInput(f"{name} has no setting {key!r}; there are {', '.join(known)}")
    return type(section)(**{**asdict(section), **changes})
