"""A metric by its name from the results of an arm, with what a reader of it must know."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from uncollapse.report.load import number

__all__ = ["NEAR_CAP", "Reading", "along", "read_values"]

NEAR_CAP = 0.25  #: nats below log B from which on a per-batch estimate counts as at its cap
CAPPED = ("batch_mutual_information",)  #: formulas that cannot exceed log B


class Reading(NamedTuple):
    """A value; `capped` where its estimator cannot show more, `exact` where no seed stands behind it."""

    value: float
    capped: bool = False
    exact: bool = False
    se: float = 0.0


def read_values(
    arm: str, metric: str, results: Sequence[Mapping[str, Any]], computed: Mapping[str, Any] | None = None
) -> dict[Any, Reading]:
    """The values of a metric, by seed; those that are missing or not finite are left out.

    Arguments:
        arm: whose runs.
        metric: as in a claim.
        results: one dict a run.
        computed: what an exact computation returned, in place of runs.

    Example:
        >>> read_values("a", "kl", [{"arm": "a", "seed": 3, "metrics": {"kl": {"value": 2.0}}}])
        {3: Reading(value=2.0, capped=False, exact=False, se=0.0)}
    """
    if computed is not None:
        return of_computed(arm, metric, computed)
    found = {one["seed"]: of_run(metric, one) for one in results if one["arm"] == arm}
    return {seed: one for seed, one in found.items() if one is not None}


def of_computed(arm: str, metric: str, computed: Mapping[str, Any]) -> dict[Any, Reading]:
    """A value of an exact computation: a number, an estimate with its error, or a list with one number a seed."""
    table = computed.get("rows", {}).get(arm, {}) if arm else computed.get("quantities", {})
    raw = table.get(metric)
    if isinstance(raw, list | tuple):
        return {i: Reading(x) for i, one in enumerate(raw) if (x := number(one)) is not None}
    entry = raw if isinstance(raw, Mapping) else {"value": raw}
    value = number(entry.get("value"))
    return {} if value is None else {"": Reading(value, exact=True, se=number(entry.get("se")) or 0.0)}


def of_run(metric: str, result: Mapping[str, Any]) -> Reading | None:
    """A value of one run."""
    head, _, rest = metric.partition(".")
    if head == "legacy":
        return of_legacy(rest, result)
    if head == "seconds":
        return plain((result.get("seconds") or {}).get(rest))
    if head == "noise":
        gaps = {number(one.get("variance")): one.get("value") for one in result.get("noise") or []}
        return plain(gaps.get(float(rest)))
    if head == "history":
        return of_history(rest, result)
    return of_metric(metric, result)


def plain(value: Any) -> Reading | None:
    """A finite number as a reading."""
    found = number(value)
    return None if found is None else Reading(found)


def of_metric(metric: str, result: Mapping[str, Any]) -> Reading | None:
    """A metric of ours; the lower bound of the information is capped where it says so."""
    if metric == "active_share":
        units, latents = of_metric("active_units", result), len(result.get("spectrum") or [])
        return Reading(units.value / latents) if units and latents else None
    entry = (result.get("metrics") or {}).get(metric) or {}
    value = number(entry.get("value"))
    saturated = metric == "mi_lower" and bool((result.get("mi") or {}).get("saturated"))
    return None if value is None else Reading(value, capped=saturated or "saturated" in (entry.get("flags") or []))


def of_legacy(key: str, result: Mapping[str, Any]) -> Reading | None:
    """A value of a paper's formula, capped where it lies within a quarter of a nat of log B."""
    entry = (result.get("legacy") or {}).get(key) or {}
    value = number(entry.get("value"))
    if value is None:
        return None
    asked = (((result.get("run") or {}).get("measure") or {}).get("legacy") or {}).get(key) or {}
    cap = math.log(asked.get("batch", 50)) if asked.get("formula") in CAPPED else math.inf
    return Reading(value, capped=value > cap - NEAR_CAP)


def of_history(rest: str, result: Mapping[str, Any]) -> Reading | None:
    """The first, last, least or most of a number that was written down along the way."""
    key, _, which = rest.rpartition(".")
    found = [along(entry, key) for entry in result.get("history") or []]
    values = [value for value in found if value is not None]
    if not values:
        return None
    return Reading({"first": values[0], "last": values[-1], "least": min(values), "most": max(values)}[which])


def along(entry: Mapping[str, Any], key: str) -> float | None:
    """A number of one moment of training; "bound" is the largest bound that a critic's loss stands for.

    Example:
        >>> along({"kl": 2.0, "bounds": {"self_critic": 1.5}}, "bound")
        1.5
    """
    if key != "bound":
        return number(entry.get(key))
    return max((x for one in (entry.get("bounds") or {}).values() if (x := number(one)) is not None), default=None)
