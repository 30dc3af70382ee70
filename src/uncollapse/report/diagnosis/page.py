"""One self-contained HTML page from a diagnosis as plain values; no clock, no network, the same bytes every time."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uncollapse.errors import BadInput
from uncollapse.report import images
from uncollapse.report.diagnosis import facts, figures, points
from uncollapse.report.diagnosis.card import to_card
from uncollapse.report.diagnosis.latents import Latent, carrying, counts, grouped, latents
from uncollapse.report.diagnosis.words import CLASSES, LATENTS, NOTHING, STATES, TONES
from uncollapse.report.document import asset, environment, fingerprint, write_page
from uncollapse.report.load import number
from uncollapse.report.words import MEANINGS

__all__ = ["build", "write"]

IMAGE_BUDGET = 300_000  #: bytes of each of the three sheets
MOST_LATENTS, MOST_CLASSES = 1024, 100  #: rows that a table shows
KINDS = (
    ("originals", "inputs", "{n} inputs"),
    ("reconstructions", "from their own code", "reconstructions of the same inputs from their own codes"),
    ("shuffled", "from another input’s code", "reconstructions of the same inputs from the code of another input"),
)


def write(result: Mapping[str, Any], path: str | Path) -> Path:
    """Write the page of a diagnosis: one HTML file that loads nothing from anywhere.

    The file appears whole or not at all: it is written under a temporary name and renamed.

    Arguments:
        result: what `Diagnosis.to_dict()` returns; parts that are null are left out.
        path: where the page goes; its folder is made.

    Returns:
        The path of the page.

    Raises:
        WorkFailed: when the disk is full or may not be written.
    """
    return write_page(build(result), path)


def build(result: Mapping[str, Any]) -> str:
    """The page as a string.

    Example:
        >>> from uncollapse.report.diagnosis import page
        >>> page.build({"verdict": {"word": "collapsed"}})[:15]
        '<!doctype html>'
    """
    engine = environment()
    engine.globals.update(plain=facts.plain, sign=facts.sign, tone=lambda word: TONES.get(word, ""))
    return engine.get_template("diagnosis.html.j2").render(_view(result))


def _view(result: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that the template shows; it computes nothing itself."""
    found, script = latents(result), asset("diagnosis.js")
    name = str(result.get("name") or facts.tree(result.get("model")).get("class") or "model")
    return {
        "name": name,
        "word": facts.word(result),
        "sentence": facts.sentence(result),
        "reasons": facts.reasons(result),
        "facts": _facts(result, found),
        "notes": facts.notes(result),
        "causes": facts.causes(result),
        "general": facts.general(result),
        "evidence": facts.evidence(result),
        "bracket": (bracket := facts.bracket(result)),
        "bar": figures.bracket_bar(bracket) if bracket else None,
        "latents": found,
        "most": MOST_LATENTS,
        "counts": counts(found),
        "bars": figures.bars(found) if found else None,
        "grouped": grouped(found),
        **_local(result),
        "classes": _classes(result),
        **_images(result),
        "tests": facts.tests(result),
        "tally": _tally(result),
        "measured": facts.measured(result),
        "decodes": bool(facts.tree(result.get("model")).get("decodes", True)),
        "versions": sorted((str(k), str(v)) for k, v in facts.tree(result.get("versions")).items()),
        "command": str(result.get("command") or ""),
        "meanings": {"latents": LATENTS, "classes": CLASSES, "states": STATES, "verdicts": MEANINGS},
        "nothing": NOTHING,
        "card": images.data_uri(to_card(result).encode("utf-8", errors="replace"), "text/markdown"),
        "stem": "".join(c if c.isascii() and c.isalnum() else "-" for c in name).strip("-") or "model",
        "css": asset("page.css") + asset("diagnosis.css"),
        "script": script,
        "fingerprint": fingerprint(script),
    }


def _facts(result: Mapping[str, Any], found: list[Latent]) -> list[tuple[str, str]]:
    """The few things to know before reading, as label and value."""
    bracket, data, model = facts.bracket(result), facts.tree(result.get("data")), facts.tree(result.get("model"))
    kl = number(facts.tree(facts.tree(result.get("metrics")).get("kl")).get("value"))
    pairs = [
        ("Information", f"{bracket.text} nats" if bracket else ""),
        ("KL to the prior", f"{kl:,.2f} nats" if kl is not None else ""),
        ("Latents that carry", f"{carrying(found):,} of {len(found):,}" if found else ""),
        ("Examples", f"{int(n):,}" if (n := number(data.get("n"))) is not None else ""),
        ("Model", str(model.get("class") or "")),
    ]
    return [(label, value) for label, value in pairs if value]


def _local(result: Mapping[str, Any]) -> dict[str, Any]:
    """Map, local collapse, and the examples with the least information."""
    local = facts.tree(result.get("local"))
    inputs = points.examples(local)
    return {
        "local": points.summary(local, inputs) if inputs else None,
        "map": points.map_panel(inputs),
        "scatter": points.local_panel(inputs, number(local.get("tau"))),
        "least": points.least(inputs),
        "colours": points.colours(inputs),
        "step": points.step,
        "width": points.WIDTH,
    }


def _classes(result: Mapping[str, Any]) -> dict[str, Any] | None:
    """Classes with the least information first."""
    rows = [
        {
            "label": str(one.get("label")), "n": int(number(one.get("n")) or 0), "word": str(one.get("word") or "–"),
            **{key: number(one.get(key)) for key in ("information", "within", "kl", "collapsed_share")},
        }
        for one in facts.trees(result.get("classes"))
    ]  # fmt: skip
    if not rows:
        return None
    rows.sort(key=lambda row: (row["information"] is None, row["information"] or 0.0, row["label"]))
    known = [row["information"] for row in rows if row["information"] is not None]
    top = max([*known, number(result.get("ceiling")) or 0.0, 1e-9])
    empty = [row["label"] for row in rows if row["word"] == "collapsed"]
    within = any(row["within"] is not None for row in rows)
    return {"rows": rows[:MOST_CLASSES], "total": len(rows), "top": top, "empty": empty, "within": within}


def _images(result: Mapping[str, Any]) -> dict[str, Any]:
    """Three sheets with the same inputs in the same places, or why there are none."""
    entries, sheets = facts.tree(result.get("images")), []
    try:
        arrays = {kind: images.decode(dict(entries[kind])) for kind, *_ in KINDS if facts.tree(entries.get(kind))}
    except BadInput as error:
        return {"sheets": [], "trouble": f"The images cannot be shown: {error}."}
    shown = min((images.grid(pixels, IMAGE_BUDGET)[1] for pixels in arrays.values()), default=0)
    for kind, caption, alt in KINDS:
        if kind in arrays:
            png, count, columns = images.grid(arrays[kind][:shown], IMAGE_BUDGET)
            said = f"{alt.format(n=count)}, {columns} a row"
            sheets.append({"uri": images.data_uri(png), "caption": caption, "alt": said[:1].upper() + said[1:]})
    return {"sheets": sheets, "trouble": ""}


def _tally(result: Mapping[str, Any]) -> str:
    """How many tests found something, in words."""
    states = [test["state"] for test in facts.tests(result)]
    said = {"found": "found something", "clear": "came out clear", "untested": "could not be run"}
    parts = [f"{states.count(state)} {words}" for state, words in said.items() if state in states]
    return f"Of {len(states)} tests, {', '.join(parts)}." if len(states) > 1 else ""
