"""The papers' own formulas by name, as a study's settings ask for them."""

import inspect
from collections.abc import Mapping
from typing import Any

from uncollapse.codes import Codes
from uncollapse.data import DataSet
from uncollapse.errors import BadInput
from uncollapse.metrics import Estimate, legacy
from uncollapse.study.naming import nearest
from uncollapse.study.pictures import prior_samples

__all__ = ["formulas", "legacy_values"]

IN_LATENTS = ("latent_density", "latent_coverage")  #: of re-encoded generations


def formulas() -> list[str]:
    """Names that `measure.legacy` may use.

    Example:
        >>> "batch_mutual_information" in formulas()
        True
    """
    return [*(name for name in legacy.__all__ if name != "latent_density_coverage"), *IN_LATENTS]


def check(wanted: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse a formula or an argument that does not exist.

    Raises:
        BadInput: with the nearest right name.
    """
    for key, setting in wanted.items():
        name = setting.get("formula")
        if name not in formulas():
            raise BadInput(f"measure.legacy.{key}: there is no formula {name!r}; {nearest(name, formulas())}")
        takes = [] if name in IN_LATENTS else list(inspect.signature(getattr(legacy, str(name))).parameters)[1:]
        for argument in setting:
            if argument not in {"formula", *takes, *(("k",) if name in IN_LATENTS else ())}:
                raise BadInput(f"measure.legacy.{key}: {name} has no argument {argument!r}; {nearest(argument, takes)}")


def legacy_values(
    wanted: Mapping[str, Mapping[str, Any]],
    model: Any,
    data: DataSet,
    codes: Codes,
    seed: int,
    examples: int | None = None,
) -> dict[str, Estimate]:
    """Every formula that was asked for, on the test part; likelihoods on its first examples, as ours.

    Arguments:
        wanted: {key: {formula: name, argument: value}}.
        model, data: what was trained on what.
        codes: of the test part.
        seed: of whatever is drawn.
        examples: how many test examples a likelihood is measured on; None takes all.
    """
    check(wanted)
    part = data.test if examples is None else data.test.head(examples)
    known = {"codes": codes, "model": model, "x": part}
    return {key: value_of(dict(setting), known, data, seed) for key, setting in wanted.items()}


def value_of(setting: dict[str, Any], known: dict[str, Any], data: DataSet, seed: int) -> Estimate:
    """One formula; its first parameter says whether it reads codes or the model."""
    name = str(setting.pop("formula"))
    if name in IN_LATENTS:
        if "generated" not in known:  # density and coverage share the generations, which cost a pass of both networks
            model = known["model"]
            known["generated"] = Codes.of(model, prior_samples(model, len(data.test), seed), seed=seed)
        found = legacy.latent_density_coverage(known["codes"], known["generated"], **setting)
        return found.density if name == "latent_density" else found.coverage
    formula = getattr(legacy, name)
    takes = list(inspect.signature(formula).parameters)
    if "seed" in takes:
        setting.setdefault("seed", seed)
    value: Estimate = formula(*(known[one] for one in takes if one in known), **setting)
    return value
