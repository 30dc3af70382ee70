"""From the plain values of a run to data, networks and remedies."""

import inspect
from typing import Any

import torch

from uncollapse import nets, remedies, schedules, wrappers
from uncollapse.data import DataSet, load
from uncollapse.errors import BadInput, ShapeError
from uncollapse.objective import Objective
from uncollapse.plan import derive
from uncollapse.study.naming import nearest
from uncollapse.study.spec import Run

__all__ = ["build", "load_data", "remedy_names"]

EXAMPLES = 500  #: training examples handed to whoever starts from data
SCHEDULES = {"constant": schedules.Constant, "linear": schedules.Linear, "cyclical": schedules.Cyclical}


def load_data(run: Run, data_dir: str | None = None) -> DataSet:
    """The data set of a run."""
    if not run.data_name:
        raise BadInput("data needs a name, such as digits; `uncollapse data list` shows all")
    try:
        return load(run.data_name, data_dir=data_dir, **run.data_options)
    except TypeError as error:
        raise BadInput(f"data {run.data_name!r} does not take these options: {error}") from error


def build(run: Run, data: DataSet) -> tuple[Any, Objective]:
    """Model and objective of a run; weights are drawn from the run's seed.

    Raises:
        BadInput: for a name or an argument that does not exist, with the nearest right one.
    """
    spec = run.model
    with torch.random.fork_rng():
        torch.manual_seed(derive(run.seed, "weights"))
        likelihood = spec.likelihood or data.likelihood_setting
        model: Any = nets.build_vae(spec.encoder, spec.decoder, data.shape, spec.latent, likelihood)
        context = {
            "shape": data.shape, "latent": spec.latent, "features": trunk_features(model, data),
            "encoder": model.encoder, "read_q": model.read_q,
            "vocabulary": len(data.vocabulary) if data.train.tokens else None,
            "examples": data.train.take(torch.arange(min(len(data.train), EXAMPLES))),
        }  # fmt: skip
        for one in spec.wrap:
            model = build_named(one, {**context, "model": model}, "wrapper")
        return model, Objective([build_named(one, context, "remedy") for one in run.remedies])


def trunk_features(model: Any, data: DataSet) -> int | None:
    """Width of the encoder's last features before its head, or None when it has no trunk."""
    trunk = getattr(model.encoder, "trunk", None)
    if trunk is None:
        return None
    training = trunk.training
    with torch.no_grad():
        features = trunk.eval()(data.train.take(torch.arange(2)))
    trunk.train(training)
    return int(features.flatten(1).shape[1])


def known(kind: str) -> dict[str, Any]:
    """Remedies or wrappers by name."""
    room, base = {"remedy": (remedies, remedies.Remedy), "wrapper": (wrappers, wrappers.Wrapper)}[kind]
    found = {name: getattr(room, name) for name in room.__all__}
    return {
        name: one for name, one in found.items() if inspect.isclass(one) and issubclass(one, base) and one is not base
    }


def remedy_names() -> list[str]:
    """Names of remedies that a study may use."""
    return list(known("remedy"))


def build_named(spec: str | dict[str, Any], context: dict[str, Any], kind: str) -> Any:
    """One remedy or wrapper from `Name` or `{Name: {argument: value}}`.

    Arguments named shape, latent, features, encoder, read_q, vocabulary, examples and model are filled in from model
    and data when not given.
    """
    if isinstance(spec, str):
        spec = {spec: {}}
    if len(spec) != 1:
        raise BadInput(f"a {kind} is written as {{Name: {{argument: value}}}}, got {spec!r}")
    name, arguments = next(iter(spec.items()))
    if name not in known(kind):
        raise BadInput(f"there is no {kind} {name!r}; {nearest(name, known(kind))}")
    made = known(kind)[name]
    takes = inspect.signature(made).parameters
    for argument in arguments or {}:
        if argument not in takes:
            raise BadInput(f"{name} has no argument {argument!r}; {nearest(argument, takes)}")
    filled = {key: value for key, value in context.items() if key in takes and value is not None}
    return construct(made, arguments or {}, filled)


def construct(kind: Any, arguments: dict[str, Any], filled: dict[str, Any]) -> Any:
    """The remedy or wrapper, with a wrong or missing argument as one sentence."""
    try:
        return kind(**{**filled, **{key: scheduled(value) for key, value in arguments.items()}})
    except (TypeError, ShapeError) as error:
        raise BadInput(f"{kind.__name__} cannot be made of {arguments!r}: {error}") from error


def scheduled(value: Any) -> Any:
    """`{linear: {start: 0, end: 1, over: 100}}` as a schedule; anything else as it is."""
    if not (isinstance(value, dict) and len(value) == 1) or "name" in value:
        return value
    name, arguments = next(iter(value.items()))
    if name not in SCHEDULES or not isinstance(arguments, dict):
        raise BadInput(f"there is no schedule {name!r}; {nearest(name, SCHEDULES)}")
    takes = inspect.signature(SCHEDULES[name]).parameters
    for argument in arguments:
        if argument not in takes:
            raise BadInput(f"the schedule {name} has no argument {argument!r}; {nearest(argument, takes)}")
    try:
        return SCHEDULES[name](**arguments)
    except TypeError as error:
        raise BadInput(f"the schedule {name} cannot be made of {arguments!r}: {error}") from error
