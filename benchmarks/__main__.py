"""Measure everything, keep the figures and write the page: `python -m benchmarks [--quick] [--only PART] [NAME ...]`.

Without a name all benchmarks run, one after the other. Each has up to three parts: `figures`, ratios against a peer, a
limit or a floor; `curves`, time and memory against size; and `gpu`, figures of a GPU, taken where torch finds one. A
part is kept in `benchmarks/results/NAME.json` as soon as it is measured, with the machine and the peers' versions, and
`docs/benchmarks.md` is written anew with its plots at the end: an interrupted command keeps what is done, and a part
that was not measured keeps its former figures. All together take about three quarters of an hour, on a machine that
does nothing else.

`--quick` takes the figures only, in fewer and shorter rounds, to see that everything runs; nothing is kept.
`--only figures`, `--only curves` or `--only gpu` measures that part. `--page` measures nothing and writes the page.
By make: `make bench ARGS="--quick metrics"`. What the page says about missed goals stands in `benchmarks/remarks.md`.
"""

import argparse
import importlib
import importlib.metadata
import json
import os
import re
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

RESULTS = Path(__file__).parent / "results"
NAMES = (
    "training", "networks", "seeds", "agreement", "remedies", "remedies_conv", "metrics", "evaluation", "diagnosis",
    "startup", "pixelcnn_sampling",
)  # fmt: skip
FUNCTIONS = {"figures": "run", "curves": "curves", "gpu": "gpu"}
PEERS = ("pythae", "prdc", "lightning")


def main(arguments=None):
    options = parsed(arguments)
    failed = []
    try:
        names = [] if options.page else options.names or NAMES
        for number, name in enumerate(names, 1):
            say(f"[bold]{number} of {len(names)}: {name}[/]")
            failed += measure(name, parts(options), options.quick)
    except KeyboardInterrupt:
        say("[yellow]stopped; what was measured is kept[/]")
        return 130
    finally:
        if not options.quick:
            from benchmarks.page import write

            say(f"page: {write(NAMES)}")
    for words in failed:
        say(f"[red]failed: {words}[/]")
    return 1 if failed else 0


def parsed(arguments):
    kind = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, formatter_class=kind)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(NAMES)}; all if none is given")
    parser.add_argument("--quick", action="store_true", help="fewer rounds; figures are not kept")
    parser.add_argument("--only", choices=FUNCTIONS, metavar="PART", help=f"one of {', '.join(FUNCTIONS)}")
    parser.add_argument("--page", action="store_true", help="write the page from the figures at hand")
    options = parser.parse_args(arguments)
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    return options


def parts(options):
    """What is measured: one part, or all that the machine can do."""
    if options.only:
        return [options.only]
    import torch

    wanted = ["figures"] if options.quick else ["figures", "curves"]
    return [*wanted, "gpu"] if torch.cuda.is_available() else wanted


def measure(name, wanted, quick):
    """Measure the parts of one benchmark and keep each at once; returns what failed, a sentence each."""
    failed = []
    for part in wanted:
        start = time.monotonic()
        try:  # one benchmark that cannot run, for want of a peer perhaps, does not stop the others
            module = importlib.import_module(f"benchmarks.{name}")
            take = getattr(module, FUNCTIONS[part], None)
            found = take and take(quick=quick)
        except Exception as error:
            failed.append(f"{name}, {part}: {type(error).__name__}: {error}")
            say(f"[red]{failed[-1]}[/]")
            continue
        if found:
            show(found, part, time.monotonic() - start)
            if not quick:
                keep(name, part, found, module)
    return failed


def keep(name, part, found, module):
    """Put one part into the result file of a benchmark; the other parts stay."""
    from benchmarks.page import read
    from benchmarks.timing import machine

    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    kept = read(path) if path.exists() else {"machines": {}, "peers": {}}
    kept[part] = found
    kept["machines"][part] = machine(gpu=part == "gpu")
    kept["peers"][part] = peers(module)
    path.write_text(json.dumps(kept, indent=1) + "\n")


def peers(module):
    """Versions of the other libraries that a benchmark imports."""
    text = Path(module.__file__).read_text()
    used = [name for name in PEERS if re.search(rf"^\s*(?:from|import) {name}\b", text, re.MULTILINE)]
    return {name: importlib.metadata.version(name) for name in used}


def show(found, part, seconds):
    """The figures of one part on the screen; of curves, that they are there."""
    from rich.table import Table

    from benchmarks.page import HEADS, cells

    if part == "curves":
        say(f"curves: {', '.join(found)} ({seconds:.0f} s)")
        return
    table = Table(*HEADS, title=f"{part}, {seconds:.0f} s", title_justify="left")
    for what, one in found.items():
        row = cells(what, one)
        table.add_row(*row, style="red" if row[-1].startswith("no") else None)
    say(table)


def say(words):
    """A line or a table for people; nothing is redrawn, because a live display would take part in the measurement."""
    from rich.console import Console

    screen = Console()
    (screen if screen.is_terminal else Console(width=160)).print(words, highlight=False)


if __name__ == "__main__":
    sys.exit(main())
