"""Run every benchmark, or those named, and keep the figures: `python -m benchmarks [--quick] [NAME ...]`."""

import argparse
import importlib
import json
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

RESULTS = Path(__file__).parent / "results"
NAMES = (
    "training", "remedies", "remedies_conv", "metrics", "evaluation", "diagnosis", "startup", "pixelcnn_sampling",
    "seeds",
)  # fmt: skip


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
    if not options.quick:
        write_page()


def measure(name, quick):
    from benchmarks.timing import machine

    figures = importlib.import_module(f"benchmarks.{name}").run(quick=quick)
    print(f"\n{name}")
    for what, one in figures.items():
        print(f"  {what:<60} {one['ratio']:>8} ({one['min']} to {one['max']}), goal {one['goal']}")
    if not quick:
        RESULTS.mkdir(exist_ok=True)
        text = json.dumps({"machine": machine(), "figures": figures}, indent=1)
        (RESULTS / f"{name}.json").write_text(text + "\n")


def write_page():
    """The figures at hand as a page of the docs."""
    lines = [
        "# Measured speed",
        "",
        "Written by `make bench`. Every figure is the median ratio of interleaved runs on one thread,",
        "with the smallest and the largest pair beside it; above 1, the party named first takes more.",
        "",
    ]
    for name in NAMES:
        path = RESULTS / f"{name}.json"
        if path.exists():
            found = json.loads(path.read_text())
            lines += [f"## {name}", "", f"{found['machine']['processor']}, torch {found['machine']['torch']}.", ""]
            lines += ["| what | ratio | smallest to largest | FLOPs | goal |", "|---|---|---|---|---|"]
            lines += [
                f"| {what} | {one['ratio']} | {one['min']} to {one['max']} | {one.get('flops', '')} | {one['goal']} |"
                for what, one in found["figures"].items()
            ]
            lines.append("")
    (RESULTS.parents[1] / "docs" / "benchmarks.md").write_text("\n".join(lines))


main()
