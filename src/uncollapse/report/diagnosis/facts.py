"""The parts of a diagnosis in the order in which they are told; what is missing or not finite becomes None here."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from uncollapse.report.diagnosis.words import CLASSES, LATENTS, MEASURES, STATES, Measure
from uncollapse.report.document import duration
from uncollapse.report.load import number
from uncollapse.report.table import show
from uncollapse.report.words import MEANINGS, SIGNS

__all__ = [
    "Bracket",
    "Evidence",
    "bracket",
    "causes",
    "evidence",
    "general",
    "measured",
    "notes",
    "plain",
    "reasons",
    "sentence",
    "sign",
    "tests",
    "tree",
    "trees",
    "word",
]


class Evidence(NamedTuple):
    """One row of the evidence: a measure with its value as text."""

    measure: Measure
    value: str
    error: str
    n: str
    flags: tuple[str, ...]


def tree(value: Any) -> Mapping[str, Any]:
    """A mapping, or an empty one in place of null and anything else."""
    return value if isinstance(value, Mapping) else {}


def trees(value: Any) -> list[Mapping[str, Any]]:
    """The mappings of a list; null and other things are none."""
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list | tuple) else []


def texts(value: Any) -> list[str]:
    """The sentences of a list."""
    return [str(one) for one in value if one] if isinstance(value, list | tuple) else []


def plain(x: Any) -> str:
    """A number whose size is not known beforehand: whole numbers whole, others with three figures.

    Example:
        >>> plain(6144), plain(0.01234), plain(12.345), plain(None), plain(2.5e-9)
        ('6,144', '0.0123', '12.3', '–', '2.5e−09')
    """
    value = number(x)
    if value is None:
        return "–"
    if value == round(value) and abs(value) < 1e9:
        return f"{round(value):,}".replace("-", "−")
    return f"{value:.3g}".replace("-", "−") if abs(value) < 1000 else f"{value:,.0f}".replace("-", "−")


def word(result: Mapping[str, Any]) -> str:
    """The verdict in a word."""
    return str(tree(result.get("verdict")).get("word") or "undetermined")


def sentence(result: Mapping[str, Any]) -> str:
    """The verdict in a sentence."""
    return str(tree(result.get("verdict")).get("sentence") or MEANINGS.get(word(result), word(result)))


def reasons(result: Mapping[str, Any]) -> list[str]:
    """The sentences that the verdict rests on, beside the one that says it."""
    return [reason for reason in texts(tree(result.get("verdict")).get("reasons")) if reason != sentence(result)]


def sign(name: str) -> str:
    """The sign of a verdict, of the word for a latent or a class, or of a test's state.

    Example:
        >>> sign("collapsed"), sign("dead"), sign("clear"), sign("never heard of")
        ('○', '○', '✓', '?')
    """
    meant = LATENTS | CLASSES | STATES
    known = SIGNS | {key: found[0] for key, found in meant.items()}
    return known.get(name, "?")


def evidence(result: Mapping[str, Any]) -> list[Evidence]:
    """Every metric that was measured, in the order of `MEASURES`; one that has no definition here comes last."""
    metrics = tree(result.get("metrics"))
    known = {measure.key: measure for measure in MEASURES}
    names = [*(key for key in known if key in metrics), *(str(key) for key in metrics if key not in known)]
    return [_row(known.get(name) or _unknown(name, tree(metrics[name])), tree(metrics[name])) for name in names]


def _unknown(name: str, metric: Mapping[str, Any]) -> Measure:
    return Measure(name, name.replace("_", " "), str(metric.get("unit") or ""), 3, "", "", "")


def _row(measure: Measure, metric: Mapping[str, Any]) -> Evidence:
    error, n = number(metric.get("se")), number(metric.get("n"))
    return Evidence(
        measure,
        show(number(metric.get("value")), measure.digits),
        "" if error is None else show(error, max(measure.digits, 2)),
        "" if not n else f"{int(n):,}",
        tuple(texts(metric.get("flags"))),
    )


class Bracket(NamedTuple):
    """Bounds of the information in nats, with the most that N examples can show."""

    lower: float
    upper: float
    ceiling: float
    kl: float | None
    crossed: bool
    saturated: bool

    @property
    def text(self) -> str:
        """Both ends; ≈ where noise has them cross, one number where they agree in print."""
        low, high = show(self.lower), show(self.upper)
        return f"{'≈ ' if self.crossed else ''}{low}" + ("" if low == high else f" – {high}")


def bracket(result: Mapping[str, Any]) -> Bracket | None:
    """The bracket with its ends in order; None where one of its numbers is missing."""
    metrics = tree(result.get("metrics"))
    lower, upper, kl = (number(tree(metrics.get(key)).get("value")) for key in ("mi_lower", "mi_upper", "kl"))
    ceiling = number(result.get("ceiling"))
    if lower is None or upper is None or ceiling is None or ceiling <= 0:
        return None
    return Bracket(min(lower, upper), max(lower, upper), ceiling, kl, lower > upper, bool(result.get("saturated")))


def notes(result: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """What a reader must know beside the verdict: borderline cases, contradictions, remarks."""
    borderline = tree(result.get("verdict")).get("borderline")
    found = [
        ("Borderline", [str(borderline).removeprefix("Borderline: ")] if borderline else []),
        ("Contradictions", texts(result.get("contradictions"))),
        ("Remarks", texts(result.get("remarks"))),
    ]
    return [(head, said) for head, said in found if said]


def tests(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every test that was run: cause, state, sentence, and its numbers as text."""
    return [
        {
            "cause": str(one.get("cause") or "–"),
            "state": str(one.get("state") or "untested"),
            "sentence": str(one.get("sentence") or ""),
            "numbers": [(str(key).replace("_", " "), plain(x)) for key, x in tree(one.get("numbers")).items()],
        }
        for one in trees(result.get("tests"))
    ]


def causes(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Causes that were found, ranked, each with its test and its advice."""
    found = {test["cause"]: test for test in reversed(tests(result)) if test["state"] == "found"}
    names = list(dict.fromkeys([*texts(result.get("causes")), *reversed(found)]))
    empty = {"state": "found", "sentence": "", "numbers": []}
    return [{**empty, **found.get(name, {}), "cause": name, "advice": _advice(result, name)} for name in names]


def _advice(result: Mapping[str, Any], cause: str) -> list[dict[str, str]]:
    keys = ("title", "code", "why", "cost", "page")
    chosen = [one for one in trees(result.get("advice")) if str(one.get("cause")) == cause]
    return [{key: str(one.get(key) or "") for key in keys} for one in chosen]


def general(result: Mapping[str, Any]) -> list[dict[str, str]]:
    """Advice that belongs to no cause that was found."""
    known = {cause["cause"] for cause in causes(result)}
    owners = dict.fromkeys(str(one.get("cause")) for one in trees(result.get("advice")))
    return [advice for owner in owners if owner not in known for advice in _advice(result, owner)]


def measured(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How it was measured: model, data, budget and time, as label and value."""
    model, data = tree(result.get("model")), tree(result.get("data"))
    groups = ", ".join(f"{name} {span[0]}–{span[1] - 1}" for name, span in _spans(model))
    n, sampled, dropped = (number(data.get(key)) for key in ("n", "sampled", "dropped"))
    shape = data.get("shape")
    found = [
        ("Model", str(model.get("class") or "")),
        ("Read as", str(model.get("kind") or "")),
        ("Parameters", plain(model.get("parameters")) if model.get("parameters") else ""),
        ("Latents", plain(model.get("latents")) if model.get("latents") else ""),
        ("Groups of latents", groups),
        (
            "Likelihood",
            str(model.get("likelihood") or ("" if model.get("decodes", True) else "none: no decoder to ask")),
        ),
        ("Prior", str(model.get("prior") or "")),
        ("Examples", "" if n is None else f"{int(n):,}"),
        ("Shape of one", " × ".join(str(size) for size in shape) if isinstance(shape, list) else ""),
        ("Seen by decoder tests", "" if not sampled else f"{int(sampled):,}"),
        ("Left out", f"{int(dropped):,} with posteriors that are not finite" if dropped else ""),
        ("Budget", str(result.get("budget") or "")),
        ("Time", duration(seconds) if (seconds := number(result.get("seconds"))) is not None else ""),
    ]
    return [(label, value) for label, value in found if value]


def _spans(model: Mapping[str, Any]) -> list[tuple[str, tuple[int, int]]]:
    spans = [(str(name), span) for name, span in tree(model.get("groups")).items()]
    return [(name, (int(s[0]), int(s[1]))) for name, s in spans if isinstance(s, list | tuple) and len(s) == 2]
