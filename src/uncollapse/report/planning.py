"""The page of a plan: what so many runs take in time and storage, on so many workers, with failures."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uncollapse.report import figures
from uncollapse.report.document import asset, duration, environment, write_page
from uncollapse.study.planning import Costs, Failures, Forecast, Storage, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["build", "hours", "size", "write"]

ROWS, COLUMNS = 24, 480  #: workers and points of time in a picture of what they do
IDLE, USEFUL, LOST = 0, 1, 2
UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def size(number: float) -> str:
    """Bytes for people.

    Example:
        >>> size(512), size(20_231), size(3.2e12)
        ('512 B', '20.2 kB', '3.2 TB')
    """
    place = 0
    while number >= 1000 and place < len(UNITS) - 1:
        number, place = number / 1000, place + 1
    return f"{number:.3g} {UNITS[place]}"


def hours(seconds: float) -> str:
    """A duration for people, in days where it takes some.

    Example:
        >>> hours(90), hours(400_000)
        ('1 min 30 s', '4.6 days')
    """
    return f"{seconds / 86_400:,.1f} days" if seconds >= 2 * 86_400 else duration(seconds)


def write(
    name: str, costs: Sequence[Costs], storage: Storage, failures: Failures, plans: Sequence[Forecast], path: str | Path
) -> Path:
    """Write the page of a plan.

    Arguments:
        name: of the study.
        costs, storage: as measured.
        failures: as assumed.
        plans: one a number of workers.
        path: of the page.

    Raises:
        WorkFailed: when the disk is full or may not be written.
    """
    return write_page(build(name, costs, storage, failures, plans), path)


def build(name: str, costs: Sequence[Costs], storage: Storage, failures: Failures, plans: Sequence[Forecast]) -> str:
    """The page as a string."""
    template = environment().get_template("planning.html.j2")
    plans = sorted(plans, key=lambda one: one.workers)
    return template.render(
        name=name, css=asset("page.css"), measured=len(costs), spread=spread(costs), storage=storage, failures=failures,
        plans=plans, times=times(plans), pictures=[(one, picture(one)) for one in plans], size=size, hours=hours,
        kept=sorted(storage.kept.items(), key=lambda item: -item[1]), arms=by_arm(costs),
        every=sum(one.fit for one in costs) / sum(one.checkpoints for one in costs),
    )  # fmt: skip


def by_arm(costs: Sequence[Costs]) -> list[dict[str, Any]]:
    """Mean seconds of every method."""
    out = []
    for arm in dict.fromkeys(one.arm for one in costs):
        mine = [one for one in costs if one.arm == arm]
        parts = {part: sum(getattr(one, part) for one in mine) / len(mine) for part in ("setup", "fit", "measure")}
        out.append({"arm": arm, "runs": len(mine), "seconds": sum(parts.values()), **parts})
    return out


def times(plans: Sequence[Forecast]) -> str:
    """Time against workers, with and without failures, between the bounds."""
    workers = [one.workers for one in plans]
    with figures._figure("plan-times", 520, 260) as (made, axes):
        axes.set_position((0.13, 0.17, 0.84, 0.72))
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        low, high = ([one.bounds[i] / 3600 for one in plans] for i in range(2))
        axes.fill_between(workers, low, high, color=figures.RULE, linewidth=0)
        axes.plot(workers, [one.seconds / 3600 for one in plans], color=figures.colour(1), marker="o")
        axes.plot(workers, [one.undisturbed / 3600 for one in plans], color=figures.colour(0), linestyle="--")
        axes.set_xticks(workers, [f"{count:,}" for count in workers])
        axes.minorticks_off()
        most, least = (round(math.log10(pick(low + high))) for pick in (max, min))
        decades = [10.0**power for power in range(least - 1, most + 2)]
        axes.set_yticks(decades, [f"{one:,g}" for one in decades])
        axes.set_ylim(min(low) / 1.5, max(one.high / 3600 for one in plans) * 1.5)
        axes.set_xlabel("workers")
        axes.set_title("hours", loc="left", fontsize=11, color=figures.MUTED)
        axes.grid(axis="y")
        ends = ", ".join(f"{one.workers} workers: {hours(one.seconds)}" for one in plans)
        return figures._svg(made, f"Hours against workers: {ends}")


def picture(plan: Forecast) -> str:
    """What the first workers do over time: work that counts, work that is lost, nothing."""
    table = states(plan)
    height = 46 + 9 * len(table)
    with figures._figure(f"plan-{plan.workers}", 520, height) as (made, axes):
        axes.set_position((0.02, 36 / height, 0.96, 1 - 42 / height))
        for row, line in enumerate(table):
            for state, tone in ((USEFUL, figures.colour(1)), (LOST, figures.colour(2))):
                axes.broken_barh(stretches(line, state), (row, 0.8), facecolors=tone, linewidth=0)
        edges(axes, plan.example.seconds, len(table))
        share = f"{plan.utilisation:.0%} of the workers' time is work that counts"
        return figures._svg(made, f"{plan.workers} workers over {hours(plan.seconds)}: {share}")


def edges(axes: "Axes", seconds: float, rows: int) -> None:
    """The axis of time."""
    axes.set_xlim(0, COLUMNS)
    axes.set_ylim(rows, 0)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    ticks = [0, COLUMNS / 2, COLUMNS]
    axes.set_xticks(ticks, ["0", *(hours(seconds * tick / COLUMNS) for tick in ticks[1:])])
    first, _, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")


def states(plan: Forecast) -> list[list[int]]:
    """For the first workers and evenly spread moments, what a worker is doing."""
    table = [[IDLE] * COLUMNS for _ in range(min(plan.workers, plan.runs, ROWS))]
    scale = COLUMNS / plan.example.seconds
    for begin, end, worker, _, well in plan.example.busy:
        if worker < len(table):
            first, last = int(begin * scale), min(int(end * scale) + (not well), COLUMNS - 1)
            for column in range(first, last + 1):
                table[worker][column] = max(table[worker][column], USEFUL if well else LOST)
    return table


def stretches(line: Sequence[int], state: int) -> list[tuple[float, float]]:
    """Where a state begins, and how long it lasts."""
    out: list[tuple[float, float]] = []
    for column, found in enumerate(line):
        if found != state:
            continue
        if out and out[-1][0] + out[-1][1] == column:
            out[-1] = (out[-1][0], out[-1][1] + 1)
        else:
            out.append((column, 1))
    return out
