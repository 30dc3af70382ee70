"""Sentences computed from the numbers: what the table shows, before anybody reads it."""

from collections.abc import Sequence

from uncollapse.report.pairs import difference, student_quantile
from uncollapse.report.table import SEVERITY, Row, show, unranked

__all__ = ["findings", "headline", "listed"]

EMPTY = {"collapsed", "off-prior collapse"}


def listed(names: Sequence[str]) -> str:
    """Names as English has them.

    Example:
        >>> listed(["a"]), listed(["a", "b", "c"])
        ('a', 'a, b and c')
    """
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _some(names: Sequence[str]) -> str:
    return listed(names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} others"])


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _information(row: Row) -> float:
    return row.cells["mi_lower"].mean or 0.0


def _measured(rows: Sequence[Row]) -> list[Row]:
    known = [row for row in rows if row.cells["mi_lower"].mean is not None]
    return sorted(known, key=_information, reverse=True)


def headline(rows: Sequence[Row]) -> str:
    """One sentence: who keeps information about the input, and how much.

    Example:
        >>> headline([])
        'No run has finished yet.'
    """
    ranked = _measured(rows)
    if not ranked:
        return "No run has been measured yet." if any(row.seeds for row in rows) else "No run has finished yet."
    if unranked(rows):
        return f"{len(ranked)} methods on different data or likelihoods: their numbers cannot be ranked."
    best, nats = ranked[0], show(_information(ranked[0]))
    base = next((row for row in ranked if row.baseline), None)
    if len(ranked) == 1 and best.verdict == "undetermined":
        return f"Whether {best.arm} keeps information about its input cannot be told from these examples."
    if len(ranked) == 1:
        return f"{_upper(best.arm)} keeps at least {nats} nats of information about its input."
    words = {row.verdict for row in ranked}
    if best.verdict == "undetermined" or ("undetermined" in words and words <= EMPTY | {"undetermined"}):
        return f"Whether any of the {len(ranked)} methods keeps information cannot be told from these examples."
    if all(row.verdict in EMPTY for row in ranked):
        return f"All {len(ranked)} methods collapsed: {best.arm} keeps the most, and that is {nats} nats."
    if best is base:
        second = ranked[1]
        return (
            f"No other method keeps more information than {best.arm}: at least {nats} nats, "
            f"against {show(_information(second))} for {second.arm}."
        )
    if base is None:
        return f"{_upper(best.arm)} keeps the most information about its input, at least {nats} nats."
    return f"{_upper(best.arm)} keeps at least {nats} nats about its input where {base.arm} keeps {_held(base)}."


def _held(row: Row) -> str:
    """What a row holds as the bracket says it: one number where the ends agree in print."""
    lower, upper = (show(cell.mean) for cell in row.bracket)
    return lower if upper in ("–", lower) else f"{'about ' if row.crossed else ''}{lower} to {upper}"


def findings(rows: Sequence[Row]) -> list[str]:
    """The sentences under the headline: verdicts, the paired gain, its price, ceilings, missing runs."""
    ranked = [] if unranked(rows) else [_gain(rows), _likelihood(rows)]
    verdicts = [_verdicts(rows), _partial(rows)]
    found = [*ranked, *verdicts, _ceiling(rows), _missing(rows), *([] if unranked(rows) else [_spread(rows)])]
    return [sentence for sentence in found if sentence]


def _verdicts(rows: Sequence[Row]) -> str:
    words = {row.verdict for row in rows if row.verdict}
    order = [word for word in SEVERITY if word in words] + sorted(words - set(SEVERITY))
    groups = [f"{word} for {_some([row.arm for row in rows if row.verdict == word])}" for word in order]
    return f"The verdict is {'; '.join(groups)}." if groups else ""


def _partial(rows: Sequence[Row]) -> str:
    """A word of caution where a partial collapse holds more than what is called healthy."""
    ranked = [row for row in _measured(rows) if row.verdict]
    best = ranked[0] if ranked else None
    if best is None or best.verdict != "partial collapse" or all(row.verdict != "healthy" for row in ranked):
        return ""
    return (
        f"Partial collapse says that some latents carry next to nothing, not that the code does: {best.arm} keeps the "
        "most information in the latents that it uses."
    )


def _gain(rows: Sequence[Row]) -> str:
    ranked = _measured(rows)
    base = next((row.arm for row in rows if row.baseline), "")
    gap = ranked[0].cells["mi_lower"].difference if ranked else None
    if gap is None or gap.low is None or gap.high is None:
        return ""
    more = "more" if gap.mean >= 0 else "less"
    doubt = "" if gap.marked else ", which does not settle the matter" if gap.low <= 0 <= gap.high else ""
    return (
        f"Paired by seed, {ranked[0].arm} keeps {show(abs(gap.mean))} nats {more} than {base} "
        f"(95 % interval {show(gap.low)} to {show(gap.high)}{doubt})."
    )


def _likelihood(rows: Sequence[Row]) -> str:
    known = [row for row in rows if row.cells["nll"].mean is not None]
    ranked = [row for row in _measured(rows) if row in known]
    if len(known) < 2 or not ranked:
        return ""
    least, second = sorted(known, key=_nll)[:2]
    richest = ranked[0]
    rival = second if least is richest else least
    if not _told_apart(richest, rival):
        return (
            f"The NLL of {richest.arm} ({show(_nll(richest))} nats) and that of {rival.arm} ({show(_nll(rival))} nats) "
            "cannot be told apart with these seeds."
        )
    if least is richest:
        return f"{_upper(richest.arm)} also explains held-out data best, with an NLL of {show(_nll(least))} nats."
    return (
        f"The lowest NLL is {show(_nll(least))} nats, by {least.arm}; {richest.arm}, which keeps the most information, "
        f"stands {show(_nll(richest) - _nll(least))} nats above it."
    )


def _nll(row: Row) -> float:
    return row.cells["nll"].mean or 0.0


def _told_apart(row: Row, other: Row) -> bool:
    """Whether the paired interval of the difference in NLL excludes zero."""
    gap = difference(row.cells["nll"].values, other.cells["nll"].values)
    return gap is not None and gap.marked


def _ceiling(rows: Sequence[Row]) -> str:
    full = [row for row in rows if row.saturated]
    if not full:
        return ""
    top = show(min(row.ceiling for row in full if row.ceiling is not None) if full[0].ceiling else None)
    return (
        f"For {_some([row.arm for row in full])} the lower bound has reached its ceiling log N = {top} nats, so the "
        "true information may be larger."
    )


def _missing(rows: Sequence[Row]) -> str:
    short = [f"{row.arm} ({row.progress})" for row in rows if not row.complete]
    return f"Still missing or failed: {_some(short)}." if short else ""


def _spread(rows: Sequence[Row]) -> str:
    seeds = max((len(row.expected) for row in rows), default=0)
    if seeds == 1:
        return "One seed says nothing about the spread between seeds."
    if seeds in (2, 3):
        factor = show(student_quantile(seeds - 1), 1)
        word = {2: "two", 3: "three"}[seeds]
        return (
            f"With {word} seeds a paired 95 % interval reaches {factor} standard errors to each side: only large and "
            "steady differences can be told from chance."
        )
    return ""
