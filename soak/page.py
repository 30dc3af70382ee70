"""The tables of docs/reliability.md, from soak/results/*.json and fuzz/results.json: `python -m soak.page`.

What stands between the markers of the page is replaced; the words round them are written by hand.
"""

import ast
import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE, RESULTS, FUZZ = ROOT / "docs" / "reliability.md", ROOT / "soak" / "results", ROOT / "fuzz" / "results.json"
MOST = 90  #: characters of a list that are shown


def page(text, results, fuzz):
    """The page with its tables as the result files have them."""
    parts = {"soak": soak_table(results), "fuzz": fuzz_table(fuzz)}
    for name, table in parts.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        if begin not in text or end not in text:
            raise ValueError(f"{PAGE.name} should hold {begin} and {end}")
        text = text[: text.index(begin) + len(begin)] + f"\n{table}\n" + text[text.index(end) :]
    return text


def soak_table(results):
    """One row an experiment."""
    rows = [row(name, found) for name, found in sorted(results.items())]
    return table(("experiment", "what was found", "command", "when"), rows)


def row(name, found):
    """Name, figures, command and date of an experiment."""
    versions = found.get("versions", {})
    seconds = found.get("seconds")
    when = f"{found.get('date', '')}, {spoken(seconds)}, torch {versions.get('torch', '?')}"
    return title(name), told(found.get("figures", {})), f"`python -m soak {name}`", when


def title(name):
    """The first sentence of an experiment's module."""
    path = ROOT / "soak" / f"{name}.py"
    if not path.exists():
        return name
    words = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or name).split("\n")[0]
    return words.rstrip(".")


def told(figures):
    """An experiment's own summary, or its plain figures one after the other."""
    if "summary" in figures:
        return str(figures["summary"])
    plain = [(key, value) for key, value in figures.items() if not isinstance(value, dict)]
    return "; ".join(f"{key}: {short(value)}" for key, value in plain)


def short(value):
    """A figure in a few characters."""
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return text if len(text) <= MOST else text[:MOST].rsplit(" ", 1)[0] + " …"


def fuzz_table(fuzz):
    """One row a reader."""
    rows = [
        (name, f"{one['executions']:,}", f"{one['cpu_seconds'] / 60:,.0f}", f"{one['corpus']:,}", len(one["mended"]),
         len(one["open"]))
        for name, one in sorted(fuzz.get("readers", {}).items())
    ]  # fmt: skip
    if rows:
        sums = [f"{sum(one[key] for one in fuzz['readers'].values()):,.0f}" for key in ("executions", "cpu_seconds")]
        minutes = sum(one["cpu_seconds"] for one in fuzz["readers"].values()) / 60
        rows.append(("all", sums[0], f"{minutes:,.0f}", "", sum(r[4] for r in rows), sum(r[5] for r in rows)))
    return table(("reader", "bad inputs tried", "CPU-minutes", "kept in the corpus", "faults mended", "open"), rows)


def spoken(seconds):
    """A duration."""
    if not isinstance(seconds, int | float):
        return ""
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def table(heads, rows):
    """Rows of Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(re.sub(r"\s+", " ", str(cell)).replace("|", "\\|") for cell in line) + " |"
                     for line in lines)  # fmt: skip


def read():
    """All result files."""
    results = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))}
    return results, json.loads(FUZZ.read_text(encoding="utf-8")) if FUZZ.exists() else {}


def main():
    """Write the page."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), *read()), encoding="utf-8")
    print(f"written: {PAGE}")


if __name__ == "__main__":
    main()
