"""A study's results as a small folder that can be kept beside the code: result files, tables, frontier, page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from uncollapse.errors import BadInput
from uncollapse.report.extras import bound_table, noise_table
from uncollapse.report.load import load_results, number
from uncollapse.report.pairs import Difference, difference
from uncollapse.report.render import escape_markdown
from uncollapse.report.table import rows, show, unranked
from uncollapse.store import write_json, write_text

__all__ = ["details", "effect", "export"]

#: What the long table shows beside the method: metric, head, digits.
LONG = (
    ("nll", "NLL", 2), ("mi_lower", "MI ≥", 2), ("mi_upper", "MI ≤", 2), ("active_units", "AU", 1), ("kl", "KL", 2),
    ("kl_information", "KL: information", 2), ("kl_mismatch", "KL: mismatch", 2), ("shuffle_gap", "shuffle gap", 2),
)  # fmt: skip


def export(folder: str | Path, to: str | Path) -> list[Path]:
    """Copy what a study found, without weights and logs, and write its tables, its frontier and its page.

    Arguments:
        folder: of the study.
        to: a folder; `study table` and `study report` work on it as on the study's own.

    Returns:
        The files written.

    Raises:
        BadInput: when `folder` holds no result, or `to` is the same folder.
    """
    from uncollapse.report import figures, page

    folder, to = Path(folder), Path(to)
    if folder.resolve() == to.resolve():
        raise BadInput(f"export writes into another folder than the study's own, got {to} twice")
    header, results = load_results(folder)
    for result in results:
        write_json(to / result["hash"] / "result.json", result)
    write_json(to / "study.json", header | {"hashes": [result["hash"] for result in results]})
    if (folder / "study.yaml").exists():
        write_text(to / "study.yaml", (folder / "study.yaml").read_text(encoding="utf-8"))
    tables = [details(header, results), noise_table(header["arms"], results), bound_table(header["arms"], results)]
    write_text(to / "table.md", "".join(tables))
    table = rows(results, header["arms"], seeds=header["seeds"])
    if not unranked(table) and len(table) > 1:
        write_text(to / "frontier.svg", standalone(figures.frontier(table, f"{header['name']}: NLL against MI")))
    page.write(header, results, to / "report.html")
    return sorted(path for path in to.rglob("*") if path.is_file())


def standalone(svg: str) -> str:
    """A figure of the page as a file of its own: with the page's colours for light paper, and white behind it."""
    css = (Path(__file__).parent / "templates" / "page.css").read_text(encoding="utf-8")
    variables = css[css.index("{") + 1 : css.index("}")]
    head, rest = svg.split(">", 1)
    head = head if "xmlns=" in head else head.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    style = f"<style>svg {{{variables}; background: #fff; font-family: sans-serif}}</style>"
    return f"{head}>{style}{rest}\n"


def details(header: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> str:
    """The long table in Markdown: means (standard deviations) over the seeds, and what each method did.

    The last column rests on differences to the baseline, paired by seed (see `effect`).
    """
    base = header.get("baseline") or header["arms"][0]
    lines = [" | ".join(["Method", *(head for _, head, _ in LONG), "verdict", "against the baseline"])]
    lines += [" | ".join(["---", *["---:"] * len(LONG), "---", "---"])]
    for arm in header["arms"]:
        mine = [one for one in results if one["arm"] == arm]
        if mine:
            cells = [cell([number((one["metrics"].get(key) or {}).get("value")) for one in mine], digits)
                     for key, _, digits in LONG]  # fmt: skip
            words = ", ".join(dict.fromkeys(str(one["verdict"].get("word")) for one in mine))
            lines.append(" | ".join([escape_markdown(arm), *cells, words,
                                     "baseline" if arm == base else effect(arm, base, results)]))  # fmt: skip
    return "\n".join(f"| {line} |" for line in lines) + "\n"


def cell(values: Sequence[float | None], digits: int) -> str:
    """Mean (standard deviation) of the finite values."""
    found = [value for value in values if value is not None]
    if not found:
        return "–"
    spread = f" ({show(stdev(found), digits)})" if len(found) > 1 else ""
    return show(fmean(found), digits) + spread


def effect(arm: str, base: str, results: Sequence[Mapping[str, Any]]) -> str:
    """In words, whether information, or only the KL, is higher than the baseline's, and what happened to the NLL.

    A change counts when the 95 % interval of the differences paired by seed excludes zero and they exceed 0.1 nats.
    """
    gaps = {key: gap(arm, base, key, results) for key in ("mi_lower", "kl", "nll")}
    if gaps["mi_lower"] is None or gaps["mi_lower"].n < 2:
        return "one pair of runs: no verdict"
    higher = {key: found is not None and found.marked and abs(found.mean) > 0.1 for key, found in gaps.items()}
    information, kl, nll = (found.mean if found is not None else 0.0 for found in gaps.values())
    if higher["mi_lower"]:
        said = f"{'more' if information > 0 else 'less'} information ({show(information, 2, sign=True)})"
    elif higher["kl"] and kl > 0:
        also = f"information not told apart ({show(information, 2, sign=True)})"
        said = f"more KL ({show(kl, 2, sign=True)}), {also if information > 0.1 else 'not more information'}"
    else:
        said = "information not told apart"
    return said + (f", NLL {show(nll, 2, sign=True)}" if higher["nll"] else ", NLL not told apart")


def gap(arm: str, base: str, key: str, results: Sequence[Mapping[str, Any]]) -> Difference | None:
    """The differences of a metric to the baseline, paired by seed."""
    values: dict[str, dict[int, float]] = {arm: {}, base: {}}
    for one in results:
        value = number((one["metrics"].get(key) or {}).get("value"))
        if one["arm"] in values and value is not None:
            values[one["arm"]][one["seed"]] = value
    return difference(values[arm], values[base])
