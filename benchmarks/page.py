"""The page of measured speed, from the result files, the remarks and the plots."""

import json
import re
import statistics
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS, REMARKS = ROOT / "benchmarks" / "results", ROOT / "benchmarks" / "remarks.md"
PAGE = ROOT / "docs" / "benchmarks.md"
HEADS = ("what", "ratio", "smallest to largest", "measured", "floor or FLOPs", "goal", "reached")
KNOWN = {"ratio", "min", "max", "goal", "rounds", "seconds", "s", "MiB", "floor", "flops"}
GOAL = re.compile(r"^(<=|>=|<|>) ?([\d.]+)(?: x FLOPs)?(?: \((.*)\))?$")
LIMIT = re.compile(r"of ([\d.]+) (s|MiB)$")
INTRO = """---
hide: [navigation]
---

# Measured speed

Written by `make bench` (`python -m benchmarks`), which keeps all figures in `benchmarks/results/`.

A ratio is the median of interleaved runs, with the smallest and the largest pair beside it; above 1, the party named
first takes more. Where the goal is a limit in seconds or MiB, the ratio is what was taken over what was allowed. A
floor is the time of the work alone: FLOPs of the products over the measured rate of a product, or bytes over that of a
copy. "FLOPs" beside a remedy are those of its step over those of a plain step. Goals are judged by the median.
Shares and milliseconds in the remarks below the tables were read off torch's profiler by hand, on the same machine.
"""
TITLES = {
    "training": "Training",
    "networks": "Steps of published networks",
    "seeds": "Several seeds",
    "agreement": "Agreement of the faster modes with fp32",
    "remedies": "Remedies, MLP",
    "remedies_conv": "Remedies, convolutional networks",
    "metrics": "Metrics",
    "evaluation": "Likelihood and local spectrum",
    "diagnosis": "Diagnosis and monitor",
    "startup": "Start-up",
    "pixelcnn_sampling": "Sampling from a PixelCNN",
}


def write(names):
    """Write the page and its plots from the results at hand; returns its path."""
    from benchmarks import plots

    found = {name: read(RESULTS / f"{name}.json") for name in names if (RESULTS / f"{name}.json").exists()}
    drawn = plots.write({name: one["curves"] for name, one in found.items() if one.get("curves")}, PAGE.parent)
    told = remarks(REMARKS.read_text(encoding="utf-8") if REMARKS.exists() else "")
    sections = [section(name, one, drawn.get(name, []), told.get(name, "")) for name, one in found.items()]
    PAGE.write_text("\n".join([INTRO, summary(found), *sections]), encoding="utf-8")
    return PAGE


def read(path):
    """A result file; an older one has no parts but its figures."""
    found = json.loads(path.read_text(encoding="utf-8"))
    if "machines" not in found:
        found["machines"] = {"figures": found.pop("machine", {})}
    found.setdefault("peers", {})
    return found


def judged(one):
    """Whether a figure reaches its goal: "yes", "no: 1.4 instead of 1.1", or "" where the goal is no number.

    A limit of so many seconds or MiB is told in them.
    """
    goal = GOAL.match(str(one["goal"]))
    if goal is None:
        return ""
    sign, number, beside = goal.groups()
    exact = re.fullmatch(r"[\d.]+", beside or "")  # of "<= 1.15 x FLOPs (1.32)"
    most = float(exact[0] if exact and "FLOPs" in one["goal"] else number)
    value = float(one["ratio"])
    if {"<=": value <= most, ">=": value >= most, "<": value < most, ">": value > most}[sign]:
        return "yes"
    allowed = LIMIT.match(beside or "")
    if allowed:
        return f"no: {short(value * float(allowed[1]))} {allowed[2]} instead of {allowed[1]} {allowed[2]}"
    return f"no: {short(value, 4)} instead of {short(most, 4)}"


def short(value, digits=3):
    """A number in so many digits, all those before the point among them: 135.34 as "135", 0.2139 as "0.214"."""
    return f"{value:.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def cells(what, one):
    """One row of the table: what, ratio, range, measured, floor or FLOPs, goal, reached."""
    bound = [f"{seconds(one['floor'])}"] if "floor" in one else []
    bound += [f"{short(float(one['flops']))} x FLOPs"] if "flops" in one else []
    ratio, low, high = (short(one[key], 4) for key in ("ratio", "min", "max"))
    return what, ratio, f"{low} to {high}", measured(one), "; ".join(bound), str(one["goal"]), judged(one)


def measured(one):
    """Seconds or MiB behind a ratio, and whatever else the benchmark tells."""
    told = [f"{name} {text(value)}".strip() for key, text in UNITS.items() for name, value in named(one.get(key))]
    told += [
        f"{key}: {short(value) if isinstance(value, float) else value}"
        for key, value in one.items()
        if key not in KNOWN
    ]
    return "; ".join(told)


def named(values):
    """Numbers by the party that took them; of several numbers the median, of one alone no name."""
    if isinstance(values, dict):
        return values.items()
    if isinstance(values, list):
        values = statistics.median(values)
    return [] if values is None else [("", values)]


def seconds(value):
    """A time with its unit: 4.87644 as "4.88 s", 0.00031 as "0.31 ms"."""
    return f"{short(value)} s" if value >= 0.1 else f"{short(1000 * value)} ms"


UNITS = {"seconds": seconds, "s": seconds, "MiB": lambda value: f"{short(value)} MiB"}


def summary(found):
    """How many goals are reached, and those that are not."""
    rows = [
        (name, what, judged(one))
        for name, result in found.items()
        for part in ("figures", "gpu")
        for what, one in result.get(part, {}).items()
    ]
    goals = [row for row in rows if row[2]]
    missed = [row for row in goals if row[2] != "yes"]
    lines = [f"{len(goals) - len(missed)} of {len(goals)} goals are reached{'; not reached:' if missed else '.'}", ""]
    lines += [f"- {TITLES.get(name, name)}: {what}: {words.removeprefix('no: ')}" for name, what, words in missed]
    return "\n".join([*lines, ""] if missed else lines)


def section(name, found, drawn, told):
    """One benchmark: its figures with and without a GPU, its plots, and what is to be said about them."""
    lines = [f"## {TITLES.get(name, name)}", "", f"`python -m benchmarks {name}`", ""]
    for part in ("figures", "gpu"):
        if found.get(part):
            lines += ["### On a GPU", ""] if part == "gpu" else []
            lines += [where(found, part), "", *table(found[part]), ""]
    if drawn:
        lines += [where(found, "curves"), ""]
        lines += [line for title, path in drawn for line in (f"![{title}]({path})", "")]
    if told:
        lines += ["### " + HEADING, "", told, ""]
    return "\n".join(lines)


HEADING = "What falls short, and what the profile shows"


def table(figures):
    """Rows of Markdown; no line is broken between a number and its unit."""
    rows = [
        [re.sub(r"(?<=\d) (?=(s|ms|MiB)\b)", "\u00a0", cell.replace("|", "\\|")) for cell in cells(what, one)]
        for what, one in figures.items()
    ]
    lines = [HEADS, ["---"] + ["---:"] + ["---"] * (len(HEADS) - 2), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def where(found, part):
    """The machine and the peers, in a sentence."""
    machine = found["machines"].get(part) or {}
    words = [machine.get("gpu"), machine.get("processor")]
    words += [f"{machine[key]} {key}" for key in ("cores", "threads") if key in machine]
    words += [machine.get("memory") and f"{machine['memory']} of memory"]
    words += [machine.get("torch") and f"torch {machine['torch']}"]
    words += [f"{peer} {number}" for peer, number in found["peers"].get(part, {}).items()]
    text = ", ".join(str(word) for word in words if word).replace("1 threads", "1 thread").replace("1 cores", "1 core")
    return f"{text[:1].upper()}{text[1:]}." if text else "The machine was not written down."


def remarks(text):
    """The paragraphs of `remarks.md` by the name of the benchmark that stands above them.

    Raises:
        ValueError: when a heading names no benchmark, whose remarks would be lost.
    """
    _, *pieces = re.split(r"^## +", text, flags=re.MULTILINE)
    found = {}
    for piece in pieces:
        name, _, words = piece.partition("\n")
        if name.strip() not in TITLES:
            raise ValueError(f"remarks.md has a heading {name.strip()!r}; there are {', '.join(TITLES)}")
        found[name.strip()] = words.strip()
    return found
