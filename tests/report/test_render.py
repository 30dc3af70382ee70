import csv
import io
import json
import re

import pytest
from rich.console import Console

from uncollapse.report import rows, to_csv, to_json, to_latex, to_markdown, to_rich
from uncollapse.report.caption import caption
from uncollapse.report.table import show
from uncollapse.report.terminal import fitting

WRITERS = [to_csv, to_json, to_latex, to_markdown]
NASTY = r"<b>50 % & $x_1$ | \cmd{a} ~^# *[red]*, `q`"


def terminal(table, width=120):
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(to_rich(table, width=width))
    return console.file.getvalue()


@pytest.fixture
def table(study):
    header, results = study()
    return rows(results, header["arms"], header["seeds"])


@pytest.fixture
def nasty(study, six_arms):
    header, results = study({NASTY: six_arms["plain VAE"], "other": six_arms["self critic"]}, seeds=(0, 1, 2))
    return rows(results, header["arms"])


@pytest.mark.parametrize("write", WRITERS)
def test_the_same_rows_give_the_same_bytes(study, write):
    header, results = study()
    again = rows(list(reversed(results)), header["arms"], header["seeds"])
    assert write(rows(results, header["arms"], header["seeds"])) == write(again)


def test_csv_holds_every_number_at_full_precision(table):
    lines = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert [line["method"] for line in lines] == [row.arm for row in table]
    for line, row in zip(lines, table, strict=True):
        assert float(line["nll_mean"]) == row.cells["nll"].mean
        assert float(line["mi_lower_std"]) == row.cells["mi_lower"].std
        assert line["critic_ceiling"] == ("" if row.critic_ceiling is None else repr(row.critic_ceiling))
    assert float(lines[3]["nll_difference"]) == table[3].cells["nll"].difference.mean


def test_json_is_strict_and_holds_each_seed(table):
    entries = json.loads(to_json(table), parse_constant=pytest.fail)
    assert entries[3]["metrics"]["probe"]["values"] == {str(k): v for k, v in table[3].cells["probe"].values.items()}
    assert entries[3]["metrics"]["nll"]["difference"]["n"] == 2


def test_latex_is_escaped_and_bold(nasty):
    text = to_latex(nasty)
    body = next(line for line in text.splitlines() if "cmd" in line)
    assert r"50 \% \& \$x\_1\$ | \textbackslash{}cmd\{a\} \textasciitilde{}\textasciicircum{}\#" in body
    assert all(len(re.findall(r"(?<!\\)&", line)) == 10 for line in text.splitlines() if line.endswith(r"\\"))
    assert r"\textbf{" in text
    assert all(rule in text for rule in (r"\toprule", r"\midrule", r"\bottomrule"))
    assert text.isascii()


def test_markdown_has_one_cell_a_column_and_no_markup_of_the_names(nasty):
    lines = [line for line in to_markdown(nasty).splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {12}
    assert "<b>" not in "".join(lines)
    assert "&lt;b&gt;" in lines[2]


def test_the_terminal_table_fits_120_columns_and_does_not_read_markup(table, nasty):
    text = terminal(table)
    assert max(map(len, text.splitlines())) <= 120
    for row in table:
        assert f"{row.cells['nll'].mean:.2f}" in text
    assert "…" not in text
    assert "[red]" in "".join(terminal(nasty).split())


@pytest.mark.parametrize(
    ("width", "gone"),
    [(120, ""), (80, "Density, Coverage"), (66, "Density, Coverage, Probe"), (40, "KL, MI ≤, AU")],
)
def test_a_narrow_terminal_keeps_what_matters_and_says_what_it_left_out(table, width, gone):
    text = terminal(table, width)
    assert max(map(len, text.splitlines())) <= width
    for row in table:
        kept = ("nll", "kl", "mi_lower", "mi_upper", "active_units") if width == 80 else ("nll", "mi_lower")
        assert all(show(row.cells[key].mean, 1 if key == "active_units" else 2) in text for key in kept)
    words = " ".join(text.split())
    assert (f"Left out here: {gone}" in words) if gone else "Left out" not in words
    assert ("show: 4.85 nats for self critic" in words) == (width < 120)


def test_nothing_is_cut_off_at_any_width(study):
    header, results = study(images=False)
    table = rows(results[1:-2], header["arms"], header["seeds"])
    for width in range(40, 126, 5):
        text = terminal(table, width)
        assert max(map(len, text.splitlines())) <= width
        assert caption(table, fitting(table, width).left_out) in " ".join(text.split())


def test_heavy_tails_references_and_crossings_are_told_in_every_form(study, six_arms):
    crossed = (*six_arms["plain VAE"][:4], -0.05, 1, "collapsed", None)
    header, results = study({"a": crossed, "b": six_arms["self critic"]}, images=False)
    assert not re.search("†|Real training|sampling noise", caption(rows(results[2:])))
    results[0]["metrics"]["nll"]["flags"] = ["Pareto k above 0.7 for 18% of examples"]
    for result in results:
        result["reference"] = {"density": 0.73, "coverage": 0.88}
    table = rows(results, header["arms"], header["seeds"])
    nll = f"{table[0].cells['nll'].mean:.2f}"
    assert f"{nll}†" in terminal(table)
    assert f"{nll}†" in to_markdown(table).replace("*", "")
    assert nll + r"$^\dagger$" in to_latex(table).replace("}", "")
    assert to_latex(table).isascii()
    assert "Density →0.73" in to_markdown(table)
    for piece in ("† importance weights", "score 0.73 / 0.88 in density and coverage", "sampling noise"):
        assert piece in caption(table)
    first, second = csv.DictReader(io.StringIO(to_csv(table)))
    assert [line["nll_heavy_tailed"] for line in (first, second)] == ["1", "0"]
    assert (first["reference_density"], first["reference_coverage"]) == ("0.73", "0.88")
    entry = json.loads(to_json(table))[0]
    assert entry["metrics"]["nll"]["heavy_tailed"] is True
    assert entry["reference"] == {"density": 0.73, "coverage": 0.88}


def test_what_cannot_be_ranked_is_told_in_every_form(study):
    header, results = study(images=False)
    results[-1]["run"]["model"]["likelihood"] = {"gaussian": 0.5}
    table = rows(results, header["arms"], header["seeds"])
    assert all(
        "cannot be ranked" in " ".join(text.split()) for text in (terminal(table), to_markdown(table), to_latex(table))
    )
    assert "**" not in to_markdown(table)
    assert "textbf" not in to_latex(table)
    assert "gaussian 0.5" in json.loads(to_json(table))[0]["remark"]
    assert list(csv.DictReader(io.StringIO(to_csv(table))))[-1]["likelihood"] == '{"gaussian": 0.5}'


def test_missing_runs_are_shown(study, six_arms):
    header, results = study()
    table = rows(results[1:-2], header["arms"], header["seeds"])
    assert "1 of 2 seeds" in terminal(table)
    for write in (to_latex, to_markdown):
        assert "plain VAE (1 of 2 seeds)" in write(table)
        assert "hybrid critic (0 of 2 seeds)" in write(table)


def test_bold_is_on_the_best_only(table):
    text = to_markdown(table)
    bold = [line.split(" | ")[0].strip("| ") for line in text.splitlines() if "**20." in line]
    assert bold == [min(table, key=lambda row: row.cells["nll"].mean).arm]
