"""Plots of time and memory against size, the same bytes for the same figures."""

import re

FOLDER = "images/benchmarks"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C564B", "#000000")
MARKS = "osD^vP*X"
AXES = {"seconds": "time, s", "MiB": "memory, MiB", "plain steps": "time, plain steps"}


def write(curves, docs):
    """Draw every curve; returns titles and paths below the docs, by benchmark."""
    folder = docs / FOLDER
    drawn = {}
    for name, plots in curves.items():
        folder.mkdir(parents=True, exist_ok=True)
        styles = styled(plots)
        for title, one in plots.items():
            path = folder / f"{name}-{slug(title)}.svg"
            draw(title, one, styles, path)
            drawn.setdefault(name, []).append((title, f"{FOLDER}/{path.name}"))
    return drawn


def styled(plots):
    """Look of every party, the same in all plots of a benchmark; a bound is a broken grey line."""
    names = dict.fromkeys(party for one in plots.values() for axis in AXES for party in one.get(axis) or {})
    ours_first = sorted((name for name in names if not bound(name)), key=lambda name: not name.startswith("uncollapse"))
    looks = {
        name: {"color": COLOURS[i % len(COLOURS)], "marker": MARKS[i % len(MARKS)]} for i, name in enumerate(ours_first)
    }
    return looks | {name: {"color": "#888888", "linestyle": "--"} for name in names if bound(name)}


def bound(name):
    """Whether a line is no party but the least that the work can take."""
    return "floor" in name or name == "FLOPs"


def slug(title):
    """A title as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def draw(title, one, styles, path):
    """One picture, with a panel for each quantity."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    panels = [axis for axis in AXES if one.get(axis)]
    with mpl.rc_context({"svg.hashsalt": "uncollapse", "svg.fonttype": "path", "font.size": 9}):
        figure = Figure(figsize=(0.6 + 4.2 * len(panels), 3.6), layout="constrained")
        figure.suptitle(title, fontsize=10)
        for place, axis in enumerate(panels, 1):
            panel(figure.add_subplot(1, len(panels), place), one, axis, styles)
        lines = {line.get_label(): line for axes in figure.axes for line in axes.get_lines()}
        figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=3, frameon=False)
        figure.savefig(path, metadata={"Date": None, "Creator": None})


def panel(axes, one, axis, styles):
    """One quantity against the size; there is no point where a party was left out, or took no memory to speak of."""
    for name, values in one[axis].items():
        points = [(x, y) for x, y in zip(one["x"], values, strict=True) if y is not None and y > 0]
        axes.plot(*zip(*points, strict=True), markersize=4, linewidth=1.4, label=name, **styles[name])
    if min(one["x"]) > 0:
        axes.set_xscale("log")
    else:  # straight from zero to the smallest size
        axes.set_xscale("symlog", linthresh=min(x for x in one["x"] if x > 0))
    if axis == "plain steps":  # a few times one, which logarithms would only hide
        axes.set_ylim(bottom=0)
    else:
        axes.set_yscale("log")
    axes.set_xlabel(one["xlabel"])
    axes.set_ylabel(AXES[axis])
    for one_axis in (axes.xaxis, axes.yaxis):
        labelled(one_axis)
    axes.grid(which="major", color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def labelled(axis):
    """Plain numbers at the ticks; on an axis of few decades at twice and five times a power of ten too."""
    low, high = axis.get_view_interval()
    between = "25" if low > 0 and high / low < 30 else ""
    axis.set_major_formatter(lambda value, place: f"{value:,.10g}")
    axis.set_minor_formatter(lambda value, place: f"{value:,.10g}" if f"{value:.0e}"[0] in between else "")
