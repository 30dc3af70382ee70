"""The claims of all kept protocols as a table in docs/reproductions.md: `python -m benchmarks.reproductions`."""

import json
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "results", ROOT / "docs" / "reproductions.md"
FIGURES = ROOT / "docs" / "images" / "reproductions"
START, END = "<!-- claims: written by python -m benchmarks.reproductions -->", "<!-- end of claims -->"


def kept(results=RESULTS):
    """What every folder under results/ holds, in the order of names."""
    return {path.parent.name: json.loads(path.read_text()) for path in sorted(results.glob("*/protocol.json"))}


def sign(text):
    """Text that cannot break a table."""
    return " ".join(str(text).split()).replace("|", "\\|")


def row(folder, found, claim):
    """One claim: where it is kept, on which data, the verdict, and the conditions that decide it."""
    view = found["view"]
    data = ", ".join(one["name"] for one in view["data"] if one["name"]) or "computed"
    cells = (f"`{folder}`", data, claim["say"], f"**{claim['word']}**", "; ".join(claim["reasons"]))
    return "| " + " | ".join(map(sign, cells)) + " |"


def table(results=RESULTS):
    """Every claim of every kept protocol, and a count of the verdicts."""
    found = kept(results)
    claims = [(folder, one, claim) for folder, one in found.items() for claim in one["view"]["claims"]]
    words = [claim["word"] for _, _, claim in claims]
    counts = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(sorted(words)))
    lines = [f"{len(claims)} claims of {len(found)} protocols: {counts}.", ""]
    lines += ["| kept in `results/` | data | claim | verdict | decided by |", "| --- | --- | --- | --- | --- |"]
    return "\n".join([*lines, *(row(*one) for one in claims), "", waiting(found)])


def waiting(found):
    """The protocols that nobody has run to the end for this page."""
    from uncollapse.protocols import names

    there = {one["name"] for one in found.values()}
    rest = [name for name in names() if name not in there]
    return f"Without kept results ({len(rest)} of {len(names())}): {', '.join(f'`{name}`' for name in rest)}."


def with_table(page, text):
    """The page with the table between its two marks."""
    before, _, rest = page.partition(START)
    return f"{before}{START}\n\n{text}\n\n{END}{rest.partition(END)[2]}"


def main():
    """Write the page, or with --check say whether it is up to date."""
    page = PAGE.read_text()
    made = with_table(page, table())
    if "--check" in sys.argv:
        sys.exit(made != page and f"{PAGE} is not what results/ says: run python -m benchmarks.reproductions")
    PAGE.write_text(made)
    draw(made)
    print(table())


def draw(page):
    """Copy the figures that the page shows: NAME.svg is the first one of results/NAME, NAME-2.svg the second."""
    FIGURES.mkdir(parents=True, exist_ok=True)
    for folder in kept():
        for source in sorted((RESULTS / folder).glob("protocol-*.svg")):
            place = source.stem.removeprefix("protocol-")
            name = f"{folder}.svg" if place == "1" else f"{folder}-{place}.svg"
            if f"images/reproductions/{name}" in page:
                shutil.copyfile(source, FIGURES / name)


if __name__ == "__main__":
    main()
