"""What must fit together inside a protocol: arms, columns, metrics and the studies of its scales."""

import re
from typing import Any

from uncollapse.errors import BadInput
from uncollapse.protocols.spec import Part, Protocol
from uncollapse.study.legacy import formulas
from uncollapse.study.naming import nearest
from uncollapse.study.spec import Study

__all__ = ["METRICS", "metric_mistake", "wrong"]

#: metrics of a result file
METRICS = (
    "nll", "nll_token", "perplexity", "kl", "kl_information", "kl_mismatch", "mi_lower", "mi_upper", "active_units",
    "active_share", "shuffle_gap", "probe", "knn", "density", "coverage", "precision", "recall", "local_smallest",
    "local_largest", "seconds.fit", "seconds.measure",
)  # fmt: skip
FAMILIES = re.compile(r"legacy\.\w+|noise\.[\d.]+|history\.\w+\.(first|last|least|most)")

Mistake = tuple[tuple[Any, ...], str]


def wrong(protocol: Protocol) -> list[Mistake]:
    """Places of a protocol that name what is not there."""
    out: list[Mistake] = []
    arms: list[str] | None = None
    legacy: list[str] = []
    if protocol.study:
        studies, out = studies_of(protocol)
        arms = [str(arm.get("name")) for arm in protocol.study.get("arms", [])]
        legacy = sorted({key for study in studies for run in study.runs() for key in run.measure.legacy})
    if arms is not None:
        strangers = [arm for arm in protocol.published.rows if arm not in arms]
        out += [(("published", "rows", arm), f"there is no arm {arm!r}; {nearest(arm, arms)}") for arm in strangers]
    out += tables(protocol, legacy)
    for index, claim in enumerate(protocol.claims):
        for place, part in enumerate(claim.parts):
            out += [(("claims", index, "parts", place), words) for words in part_mistakes(part, arms, legacy)]
    return out


def studies_of(protocol: Protocol) -> tuple[list[Study], list[Mistake]]:
    """The study of every scale, and what is wrong with those that are none."""
    found: list[Study] = []
    out: list[Mistake] = []
    for scale in protocol.scales:
        try:
            study = protocol.study_at(scale)
        except BadInput as error:
            out.append((("scales", scale), str(error)))
            continue
        found.append(study)
        asked = {key: setting for run in study.runs() for key, setting in run.measure.legacy.items()}
        for key, setting in asked.items():
            if setting.get("formula") not in formulas():
                name = setting.get("formula")
                words = f"there is no formula {name!r}; {nearest(name, formulas())}"
                out.append((("study", "measure", "legacy", key), words))
    return found, list(dict.fromkeys(out))


def tables(protocol: Protocol, legacy: list[str]) -> list[Mistake]:
    """Columns and cells of the published table."""
    out: list[Mistake] = []
    columns = protocol.published.columns
    for key, column in columns.items():
        here: tuple[Any, ...] = ("published", "columns", key)
        if column.legacy is not None and protocol.study and column.legacy not in legacy:
            out.append(
                ((*here, "legacy"), f"measure.legacy has no {column.legacy!r}; {nearest(column.legacy, legacy)}")
            )
        if protocol.study:
            out += [((*here, "right"), words) for name in column.right if (words := metric_mistake(name, legacy))]
    for arm, cells in protocol.published.rows.items():
        for key, value in cells.items():
            here = ("published", "rows", arm, key)
            if key not in columns:
                out.append((here, f"there is no column {key!r}; {nearest(key, columns)}"))
            if isinstance(value, list) and len(value) != 2:
                out.append((here, f"expected a mean or [mean, standard deviation], got {value!r}"))
    return out


def part_mistakes(part: Part, arms: list[str] | None, legacy: list[str]) -> list[str]:
    """What a part of a claim names that is not there; an exact computation names its own."""
    if arms is None:
        return []
    named = [name for name in (part.arm, part.minus, part.over) if name and name not in arms]
    out = [f"there is no arm {name!r}; {nearest(name, arms)}" for name in named]
    if not part.arm:
        out.append("expected the arm that the condition is about")
    metrics = [part.metric, *([part.minus_metric] if part.minus_metric else [])]
    return out + [words for name in metrics if (words := metric_mistake(name, legacy))]


def metric_mistake(name: str, legacy: list[str]) -> str:
    """Why a metric of a result cannot be had, or an empty string."""
    if name.startswith("legacy."):
        key = name.removeprefix("legacy.")
        return "" if key in legacy else f"measure.legacy has no {key!r}; {nearest(key, legacy)}"
    if name in METRICS or FAMILIES.fullmatch(name):
        return ""
    return f"there is no metric {name!r}; {nearest(name, METRICS)}"
