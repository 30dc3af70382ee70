"""The latents of a diagnosis one by one, and added up by word and by group."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from uncollapse.report.diagnosis.facts import trees
from uncollapse.report.diagnosis.words import LATENTS, NOTHING
from uncollapse.report.load import number

__all__ = ["Latent", "carrying", "counts", "grouped", "latents"]


@dataclass(frozen=True)
class Latent:
    """One latent; numbers that are not known are None."""

    index: int
    group: str
    word: str
    kl: float | None
    information: float | None
    mismatch: float | None
    variance: float | None
    mean: float | None
    scale: float | None


def latents(result: Mapping[str, Any]) -> list[Latent]:
    """Every latent in the order of its index."""
    keys = ("kl", "information", "mismatch", "variance", "mean", "scale")
    found = [
        Latent(int(number(one.get("index", i)) or 0), str(one.get("group") or ""), str(one.get("word") or "–"),
               *(number(one.get(key)) for key in keys))
        for i, one in enumerate(trees(result.get("latents")))
    ]  # fmt: skip
    return sorted(found, key=lambda latent: latent.index)


def carrying(found: Sequence[Latent]) -> int:
    """How many latents tell at least as much as counts as anything, the verdict's own count."""
    return sum(latent.information is not None and latent.information >= NOTHING for latent in found)


def counts(found: Sequence[Latent]) -> dict[str, int]:
    """How many latents have each word, in the order of `LATENTS`."""
    order = [*LATENTS, *sorted({latent.word for latent in found} - set(LATENTS))]
    tallied = {name: sum(latent.word == name for latent in found) for name in order}
    return {name: count for name, count in tallied.items() if count}


def grouped(found: Sequence[Latent]) -> list[dict[str, Any]]:
    """Sums over each group of latents, where there is more than one."""
    names = list(dict.fromkeys(latent.group for latent in found))
    rows = []
    for name in names if len(names) > 1 else []:
        own = [latent for latent in found if latent.group == name]
        sums = {key: sum(getattr(one, key) or 0.0 for one in own) for key in ("information", "mismatch", "kl")}
        rows.append({"name": name or "no group", "size": len(own), "carry": carrying(own), **sums})
    return rows
