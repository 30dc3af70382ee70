"""A diagnosis for a terminal of 80 columns or more: verdict, evidence, causes with advice, contradictions."""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from uncollapse.report.diagnosis import facts
from uncollapse.report.diagnosis.latents import counts, latents
from uncollapse.report.diagnosis.words import TONES

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table
    from rich.text import Text

__all__ = ["to_rich", "to_text"]

COLOURS = {"good": "green", "warn": "yellow", "bad": "red", "odd": "magenta"}


def to_rich(result: Mapping[str, Any]) -> "Group":
    """What `print(report)` shows, as something that rich can print at any width from 80 columns.

    Arguments:
        result: what `Diagnosis.to_dict()` returns; text from the model or the data is never read as markup.
    """
    from rich.console import Group
    from rich.text import Text

    blocks: list[RenderableType] = [_verdict(result)]
    if facts.evidence(result):
        blocks += [Text(), _evidence(result)]
    if line := _latents(result):
        blocks += [line]
    for place, cause in enumerate(facts.causes(result), 1):
        blocks += [Text(), *_cause(place, cause)]
    for advice in facts.general(result):
        blocks += [Text(), *_advice(advice)]
    for head, sentences in facts.notes(result):
        blocks += [Text(), Text(head, style="bold"), *(_item("-", sentence) for sentence in sentences)]
    if facts.tests(result):
        blocks += [Text(), _outcome(result)]
    return Group(*blocks)


def to_text(result: Mapping[str, Any], width: int = 100) -> str:
    """The same as plain text of at most `width` columns, without colours.

    Example:
        >>> print(to_text({"verdict": {"word": "collapsed", "sentence": "The code is empty."}}))
        ○ collapsed: The code is empty.
    """
    from rich.console import Console

    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None, force_terminal=False, legacy_windows=False)
    console.print(to_rich(result))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()).rstrip()


def _colour(word: str) -> str:
    return COLOURS.get(TONES.get(word, ""), "")


def _verdict(result: Mapping[str, Any]) -> "Table":
    from rich.text import Text

    word = facts.word(result)
    said = Text.assemble((word, f"bold {_colour(word)}".strip()), ": ", facts.sentence(result))
    block = _item(facts.sign(word), said)
    for reason in facts.reasons(result):
        block.add_row("", Text(reason, style="dim"))
    return block


def _item(mark: str, said: "str | Text") -> "Table":
    """A sentence that hangs behind its mark."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(mark), Text(said) if isinstance(said, str) else said)
    return grid


def _evidence(result: Mapping[str, Any]) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("Evidence", overflow="fold", max_width=24)
    table.add_column("Value", justify="right", no_wrap=True)
    table.add_column("±", justify="right", no_wrap=True)
    table.add_column("What it is", overflow="fold")
    for row in facts.evidence(result):
        meaning = Text(row.measure.short, style="dim")
        for flag in row.flags:
            meaning.append(f"{' ' if meaning else ''}[{flag}]", style="not dim yellow")
        unit = f", {row.measure.unit}" if row.measure.unit not in ("", "nats", "latents") else ""
        table.add_row(Text(row.measure.label + unit), Text(row.value), Text(row.error or "–"), meaning)
    return table


def _latents(result: Mapping[str, Any]) -> "Text | None":
    from rich.text import Text

    found, ceiling = latents(result), facts.bracket(result)
    words = ", ".join(f"{facts.sign(word)} {word} {count:,}" for word, count in counts(found).items())
    parts = [f"Latents: {words}."] if found else []
    if ceiling is not None:
        reached = ", and the lower bound has reached it" if ceiling.saturated else ""
        parts.append(f"Ceiling of the lower bound: log N = {ceiling.ceiling:.2f} nats{reached}.")
    return Text("In nats, per example. " + " ".join(parts)) if parts else None


def _cause(place: int, cause: Mapping[str, Any]) -> "list[RenderableType]":
    from rich.text import Text

    head = Text.assemble((cause["cause"], "bold"), ": " if cause["sentence"] else "", cause["sentence"])
    blocks: list[RenderableType] = [_item(f"{place}.", head)]
    for advice in cause["advice"]:
        blocks += _advice(advice)
    return blocks


def _advice(advice: Mapping[str, str]) -> "list[RenderableType]":
    from rich.padding import Padding
    from rich.text import Text

    lines: list[Any] = [_item("→", Text(advice["title"], style="bold"))] if advice["title"] else []
    code = [Padding(Text(advice["code"].rstrip(), style="cyan", overflow="fold"), (0, 0, 0, 2))]
    notes = [("", advice["why"]), ("Cost: ", advice["cost"]), ("See ", advice["page"])]
    said = [Text.assemble((head, "dim"), text) for head, text in notes if text]
    return [Padding(block, (0, 0, 0, 3)) for block in [*lines, *(code if advice["code"] else []), *said]]


def _outcome(result: Mapping[str, Any]) -> "Text":
    from rich.text import Text

    tests = list(facts.tests(result))
    states = [test["state"] for test in tests]
    said = ", ".join(f"{states.count(state)} {state}" for state in ("found", "clear", "untested") if state in states)
    missing = [f"\n– {test['cause']}: {test['sentence']}" for test in tests if test["state"] == "untested"]
    return Text(f"Tests of causes: {said}.{''.join(missing)}", style="dim")
