"""Whether `diagnose` is right about models with known truth: verdict and first cause, over seeds.

`python -m benchmarks.gallery [--seeds 5] [--only NAME ...] [--budget quick] [--held-out [FILE]]`

Every specimen of `uncollapse.testing.gallery` (or, with --held-out, of a file with the same interface whose specimens
were not looked at while the rules were written) is made from every seed and diagnosed. Each answer goes to a line of
results.jsonl at once, with a digest of the code that gave it: what the same code has answered is not asked again, so
the run can be interrupted and resumed. The tables go to docs/results/gallery.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import hashlib
import importlib.util
import json
import shlex
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import uncollapse
from benchmarks.timing import machine
from uncollapse.testing import gallery

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results" / "gallery"
HELD_OUT = Path(__file__).parent / "held_out.py"
NOTHING, BROKEN = "nothing", "error"


def digest(*files):
    """Of the package's code and of further files: answers of other code are not to be mixed with this one's."""
    found = hashlib.blake2b(torch.__version__.encode(), digest_size=8)
    for path in [*sorted((ROOT / "src").rglob("*.py")), *files]:
        found.update(path.read_bytes())
    return found.hexdigest()


def loaded(path):
    """A file with the interface of `uncollapse.testing.gallery`."""
    plan = importlib.util.spec_from_file_location("held_out", path)
    module = importlib.util.module_from_spec(plan)
    sys.modules["held_out"] = module
    plan.loader.exec_module(module)
    return module


def kept(store, code, budget):
    """Answers that this code has given, by name and seed; a line that was cut off by an interruption is left out."""
    rows = {}
    for line in store.read_text().splitlines() if store.exists() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if row["code"] == code and row["budget"] == budget:
            rows[row["name"], row["seed"]] = row
    return rows


def asked(diagnose, source, name, seed, budget):
    """Make one specimen, diagnose it, and hold the answer against the truth."""
    start = time.perf_counter()
    one = source.specimen(name, seed)
    made = time.perf_counter()
    try:
        found = diagnose(one.model, one.data, one.labels, budget=budget, seed=seed, **one.arguments).to_dict()
        word, causes, trouble = found["verdict"]["word"], list(found["causes"]), None
    except Exception:
        word, causes, trouble = BROKEN, [BROKEN], traceback.format_exc(limit=-3)
    first = causes[0] if causes else None
    return {
        "name": name, "seed": seed, "budget": budget, "true_verdict": sorted(one.verdict), "verdict": word,
        "true_causes": sorted(cause or NOTHING for cause in one.causes), "first": first or NOTHING, "causes": causes,
        "right_verdict": word in one.verdict, "right_cause": first in one.causes,
        "making": round(made - start, 2), "seconds": round(time.perf_counter() - made, 2), "error": trouble,
    }  # fmt: skip


def run(diagnose, source, names, seeds, budget, store, code, console):
    """Answers for all names and seeds; what is in the store already is not asked again."""
    done = kept(store, code, budget)
    todo = [(name, seed) for name in names for seed in range(seeds)]
    store.parent.mkdir(parents=True, exist_ok=True)
    columns = (TextColumn("{task.description:<40}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar, store.open("a") as file:
        task = bar.add_task("gallery", total=len(todo), completed=sum(place in done for place in todo))
        for name, seed in todo:
            if (name, seed) in done:
                continue
            bar.update(task, description=f"{name}, seed {seed}")
            row = {"code": code, **asked(diagnose, source, name, seed, budget)}
            file.write(json.dumps(row) + "\n")
            file.flush()
            done[name, seed] = row
            bar.advance(task)
    return [done[place] for place in todo]


def confusion(rows, truth, found):
    """Rows of counts, (what is true, what was found): the truths in order of appearance."""
    counts = Counter((" or ".join(row[truth]), row[found]) for row in rows)
    truths = list(dict.fromkeys(pair[0] for pair in counts))
    answers = sorted({pair[1] for pair in counts}, key=lambda one: (one in (NOTHING, BROKEN), one))
    table = [[true, *(counts[true, answer] for answer in answers)] for true in truths]
    return [f"true {found.replace('first', 'first cause')}", *answers], table


def markdown(head, table):
    """A table; numbers to the right, zeros as a dot, the right answers in bold."""
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for true, *counts in table:
        cells = [
            f"**{n}**" if n and answer in true.split(" or ") else str(n or "·")
            for answer, n in zip(head[1:], counts, strict=True)
        ]
        lines.append("| " + " | ".join([true, *cells]) + " |")
    return lines


def mistakes(rows):
    """What was got wrong, a line each."""
    return [
        f"- {row['name']}, seed {row['seed']}: {row['verdict']}, {row['first']}; "
        f"true: {' or '.join(row['true_verdict'])}, {' or '.join(row['true_causes'])}"
        for row in rows
        if not (row["right_verdict"] and row["right_cause"])
    ]


def page(rows, title, about):
    """The tables as Markdown."""
    n, seconds = len(rows), sorted(row["seconds"] for row in rows)
    specimens, seeds = len({row["name"] for row in rows}), len({row["seed"] for row in rows})
    wrong = mistakes(rows)
    return "\n".join(
        [
            f"# {title}", "",
            f"`{about['command']}` on {about['machine']['processor']}, torch {about['machine']['torch']}, "
            f"uncollapse {about['uncollapse']}, {about['date']}.", "",
            f"{specimens} models, {seeds} seeds each, budget {about['budget']}: the verdict is right on "
            f"{sum(row['right_verdict'] for row in rows)} of {n}, the first cause on "
            f"{sum(row['right_cause'] for row in rows)} of {n}. A diagnosis took {seconds[n // 2]:.1f} s in the "
            f"median, {seconds[-1]:.1f} s at most, on one thread. What each model is: "
            "[the gallery](../../gallery.md).", "",
            "## First cause", "", *markdown(*confusion(rows, "true_causes", "first")), "",
            "## Verdict", "", *markdown(*confusion(rows, "true_verdict", "verdict")), "",
            "## What was got wrong", "", *(wrong or ["Nothing."]), "",
        ]
    )  # fmt: skip


def circumstances(rows, budget):
    """How the answers came about."""
    return {
        "command": "python -m benchmarks.gallery" + "".join(f" {shlex.quote(part)}" for part in sys.argv[1:]),
        "machine": machine(), "uncollapse": uncollapse.__version__, "budget": budget,
        "date": time.strftime("%Y-%m-%d"), "seconds": round(sum(row["seconds"] + row["making"] for row in rows), 1),
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gallery", description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help="of every specimen; 5 unless told")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these specimens; the tables are printed, not kept")
    parser.add_argument("--budget", choices=("quick", "full"), default="quick")
    parser.add_argument("--held-out", nargs="?", type=Path, const=HELD_OUT, metavar="FILE", help="of this file instead")
    options = parser.parse_args()
    if options.held_out and not options.held_out.exists():
        parser.error(f"there is no file {options.held_out}")
    source = loaded(options.held_out) if options.held_out else gallery
    unknown = set(options.only or ()) - set(source.names())
    if unknown or options.seeds < 1:
        parser.error(f"there is no {', '.join(sorted(unknown))}" if unknown else "--seeds should be at least 1")
    code = digest(*([options.held_out] if options.held_out else []))
    name = "held-out" if options.held_out else "confusion"
    names, store = options.only or source.names(), ROOT / "runs" / "gallery" / f"{name}.jsonl"
    console = Console()
    rows = run(uncollapse.diagnose, source, names, options.seeds, options.budget, store, code, console)
    title = "Models kept for the end" if options.held_out else "Right about models with known truth"
    about = circumstances(rows, options.budget)
    text = page(rows, title, about)
    if not options.only:
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / f"{name}.md").write_text(text)
        (RESULTS / f"{name}.json").write_text(json.dumps({**about, "answers": rows}, indent=1) + "\n")
    console.print(text, highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
