"""Differences paired by seed, with Student's interval."""

import math
from collections.abc import Mapping
from statistics import fmean, stdev
from typing import NamedTuple

__all__ = ["Difference", "difference", "student_quantile"]


class Difference(NamedTuple):
    """Mean paired difference to the baseline, its standard error, 95 % interval and count of pairs.

    `marked` says that the interval excludes zero; it is never set on fewer than two pairs, nor where every
    pair gives the same difference (whole-numbered active units do), because no spread is left to judge by.
    """

    mean: float
    se: float | None
    low: float | None
    high: float | None
    n: int
    marked: bool


def student_quantile(df: int, share: float = 0.95) -> float:
    r"""The t that holds a central share of Student's distribution between -t and t.

    The share inside is a finite sum for whole degrees of freedom; bisection turns it round.

    Arguments:
        df: degrees of freedom, at least 1.
        share: between 0 and 1.

    References:
        Abramowitz and Stegun 1964, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.

    Example:
        >>> round(student_quantile(1), 3), round(student_quantile(9), 3)
        (12.706, 2.262)
    """
    low, high = 0.0, 1e4
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if _inside(middle, df) < share else (low, middle)
    return (low + high) / 2


def _inside(t: float, df: int) -> float:
    angle = math.atan2(t, math.sqrt(df))
    sine, cosine = math.sin(angle), math.cos(angle)
    term = cosine if df % 2 else 1.0
    total = term if df > 1 else 0.0
    for k in range(3 if df % 2 else 2, df - 1, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    return 2 / math.pi * (angle + sine * total) if df % 2 else sine * total


def difference(values: Mapping[int, float], baseline: Mapping[int, float]) -> Difference | None:
    """The values minus the baseline's over the seeds that both have; None without such a seed.

    Example:
        >>> difference({0: 3.0, 1: 5.0}, {0: 1.0, 1: 1.0})
        Difference(mean=3.0, se=1.0, low=-9.70..., high=15.70..., n=2, marked=False)
    """
    gaps = [values[seed] - baseline[seed] for seed in sorted(values.keys() & baseline.keys())]
    if not gaps:
        return None
    mean, n = fmean(gaps), len(gaps)
    if n < 2:
        return Difference(mean, None, None, None, n, False)
    se = stdev(gaps) / math.sqrt(n)
    half = student_quantile(n - 1) * se
    return Difference(mean, se, mean - half, mean + half, n, se > 0 and abs(mean) > half)
