"""What to do about each cause: the lines to change, why, and what it costs; the sentences are in `advice.yaml`."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Template
from typing import Any

from uncollapse.diagnosis.finding import Finding

__all__ = ["Advice", "advise", "table"]

UNEXPLAINED = "unexplained"  #: what is given where something is wrong and no cause was found


@dataclass(frozen=True)
class Advice:
    """One thing to change.

    Attributes:
        cause: what it is against.
        title: in a few words.
        code: Python lines.
        why: how it acts.
        cost: what it trades away, or where it fails.
        page: of the documentation, or None.
    """

    cause: str
    title: str
    code: str
    why: str
    cost: str
    page: str | None = None


@cache
def table() -> dict[str, list[dict[str, Any]]]:
    """Advice by cause."""
    import yaml

    text = (files("uncollapse.diagnosis") / "advice.yaml").read_text(encoding="utf-8")
    found: dict[str, list[dict[str, Any]]] = yaml.safe_load(text)
    return found


def advise(causes: Sequence[Finding], word: str) -> list[Advice]:
    """Advice for the causes that were found, in their order; the same lines are not given twice.

    Arguments:
        causes: what was found, upstream first.
        word: the verdict.

    Example:
        >>> from uncollapse.diagnosis.finding import found
        >>> advise([found("inference lag", "20 steps on q raise the bound by 12 nats.")], "collapsed")[0].page
        'docs/remedies/aggressive.md'
    """
    out: list[Advice] = []
    named = [(cause.cause, dict(cause.numbers)) for cause in causes]
    if not named and word not in ("healthy", "undetermined"):
        named = [(UNEXPLAINED, {})]
    for cause, numbers in named:
        for entry in table()[cause]:
            one = Advice(cause, **{**entry, "code": filled(entry["code"], numbers)})
            if all(one.code != other.code for other in out):
                out.append(one)
    return out


def filled(code: str, numbers: dict[str, float]) -> str:
    """The code with the finding's numbers, as whole numbers, in place of $names."""
    return Template(code.rstrip()).safe_substitute({key: f"{max(1, round(x))}" for key, x in numbers.items()})
