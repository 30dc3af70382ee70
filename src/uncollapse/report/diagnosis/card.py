"""A diagnosis as a section of a model card, in Markdown."""

import re
from collections.abc import Mapping
from typing import Any

from uncollapse.report.diagnosis import facts
from uncollapse.report.diagnosis.latents import counts, latents
from uncollapse.report.load import number
from uncollapse.report.render import escape_markdown

__all__ = ["to_card"]

BASICS = (
    "Information and KL are in nats, per example; errors are standard errors over the examples.",
    "The verdict speaks of these weights on these data; it does not say whether samples or reconstructions look good.",
)


def to_card(result: Mapping[str, Any]) -> str:
    """The diagnosis as a section for a model card: verdict, evidence with definitions, tests, limits, versions.

    Arguments:
        result: what `Diagnosis.to_dict()` returns.

    Returns:
        Markdown that begins with a heading of the second level, to be pasted into a README; text from the model or
        the data is escaped.

    Example:
        >>> print(to_card({"verdict": {"word": "collapsed", "sentence": "The code is empty."}}).splitlines()[2])
        **○ collapsed.** The code is empty.
    """
    word = facts.word(result)
    said = f"**{facts.sign(word)} {escape_markdown(word)}.** {escape_markdown(facts.sentence(result))}"
    reasons = "\n".join(f"- {escape_markdown(reason)}" for reason in facts.reasons(result))
    parts = ["## Posterior collapse", said, reasons, _evidence(result), _latents(result), _causes(result)]
    parts += [_tests(result), _limits(result), _measured(result)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(heads: list[str], rows: list[list[str]]) -> str:
    rule = ["---", *["---:" if head in ("value", "±", "examples") else "---" for head in heads[1:]]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heads, rule, *rows])


def _evidence(result: Mapping[str, Any]) -> str:
    rows = []
    for row in facts.evidence(result):
        flags = f" ({escape_markdown(', '.join(row.flags))})" if row.flags else ""
        meaning = " ".join(filter(None, [row.measure.short, row.measure.formula]))
        label = escape_markdown(f"{row.measure.label}, {row.measure.unit}" if row.measure.unit else row.measure.label)
        rows.append([label + flags, row.value, row.error or "–", row.n or "–", escape_markdown(meaning) or "–"])
    return f"### Evidence\n\n{_table(['number', 'value', '±', 'examples', 'definition'], rows)}" if rows else ""


def _latents(result: Mapping[str, Any]) -> str:
    found = latents(result)
    words = ", ".join(f"{escape_markdown(word)} {count:,}" for word, count in counts(found).items())
    return f"Of {len(found):,} latents: {words}." if found else ""


def _causes(result: Mapping[str, Any]) -> str:
    lines = []
    for place, cause in enumerate(facts.causes(result), 1):
        lines.append(f"{place}. **{escape_markdown(cause['cause'])}**: {escape_markdown(cause['sentence'])}")
        for advice in cause["advice"]:
            cost = f" Cost: {escape_markdown(advice['cost'])}" if advice["cost"] else ""
            lines.append(f"   Advice: {escape_markdown(advice['title'].rstrip('.'))}.{cost}")
            lines += ["", *("   " + line for line in _fence(advice["code"], "python")), ""] if advice["code"] else []
    return "### Causes\n\n" + "\n".join(lines).rstrip() if lines else ""


def _fence(code: str, language: str = "") -> list[str]:
    """A block of code whose fence is longer than any in the code."""
    ticks = "`" * max(3, *(len(run) + 1 for run in re.findall(r"`+", code)), 3)
    return [ticks + language, *code.rstrip().splitlines(), ticks]


def _tests(result: Mapping[str, Any]) -> str:
    rows = [
        [escape_markdown(test["cause"]), f"{facts.sign(test['state'])} {escape_markdown(test['state'])}",
         escape_markdown(test["sentence"]) or "–"]
        for test in facts.tests(result)
    ]  # fmt: skip
    return f"### What was tested\n\n{_table(['cause', 'outcome', 'what was seen'], rows)}" if rows else ""


def _limits(result: Mapping[str, Any]) -> str:
    bracket = facts.bracket(result)
    lines = [*BASICS]
    if bracket is not None:
        lines.append(f"The lower bound of the information cannot exceed log N = {bracket.ceiling:.2f} nats.")
    if bracket is not None and bracket.saturated:
        lines.append("It has reached that ceiling, so that the code may hold more.")
    dropped = number(facts.tree(result.get("data")).get("dropped"))
    if dropped:
        lines.append(f"{int(dropped):,} examples whose posteriors are not finite were left out.")
    for head, sentences in facts.notes(result):
        lines += [f"{head}: {sentence}" if head != "Remarks" else sentence for sentence in sentences]
    return "### Limits\n\n" + "\n".join(f"- {escape_markdown(line)}" for line in lines)


def _measured(result: Mapping[str, Any]) -> str:
    lines = [f"- {label}: {escape_markdown(value)}" for label, value in facts.measured(result)]
    versions = sorted((str(k), str(v)) for k, v in facts.tree(result.get("versions")).items())
    if versions:
        lines.append("- Versions: " + ", ".join(f"{escape_markdown(f'{name} {value}')}" for name, value in versions))
    text = "### How it was measured\n\n" + "\n".join(lines) if lines else ""
    command = str(result.get("command") or "")
    return "\n\n".join(filter(None, [text, "\n".join(_fence(command, "sh")) if command else ""]))
