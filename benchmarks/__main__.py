"""Run every benchmark, or those named, and keep the figures: `python -m benchmarks [--quick] [NAME ...]`."""

import argparse
import importlib
import json
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

NAMES = ("training", "remedies", "metrics", "startup")


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(NAMES)}; all if none is given")
    parser.add_argument("--quick", action="store_true", help="fewer rounds; figures are not kept")
    options = parser.parse_args()
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    for name in options.names or NAMES:
        measure(name, options.quick)


def measure(name, quick):
    from benchmarks.timing import machine

    figures = importlib.import_module(f"benchmarks.{name}").run(quick=quick)
    print(f"\n{name}")
    for what, one in figures.items():
        print(f"  {what:<60} {one['ratio']:>8} ({one['min']} to {one['max']}), goal {one['goal']}")
    if not quick:
        folder = Path(__file__).parent / "results"
        folder.mkdir(exist_ok=True)
        text = json.dumps({"machine": machine(), "figures": figures}, indent=1)
        (folder / f"{name}.json").write_text(text + "\n")


main()
