"""Geometry of the bracket and of the bars: where they end."""

import re

import pytest

from uncollapse.report.diagnosis import figures
from uncollapse.report.diagnosis.facts import Bracket
from uncollapse.report.diagnosis.latents import Latent, latents


def latent(index, information=0.0, mismatch=0.0, variance=1.0):
    return Latent(index, "", "carries", information + mismatch, information, mismatch, variance, 0.0, 1.0)


@pytest.mark.parametrize("high", [1e-6, 0.03, 1.0, 7.3, 9.99, 128.0, 5e7])
def test_ticks_are_round_few_and_inside(high):
    ticks = figures.nice(high)
    assert ticks[0] == 0
    assert 2 <= len(ticks) <= 7
    assert 0.5 * high <= ticks[-1] <= high * (1 + 1e-9)


def test_the_bar_is_to_scale():
    bar = figures.bracket_bar(Bracket(2.0, 4.0, 8.0, 6.0, False, False))
    assert bar["upper"] == pytest.approx(2 * bar["lower"], abs=0.02)
    assert bar["ceiling"] == pytest.approx(4 * bar["lower"], abs=0.02)
    assert bar["kl"] == pytest.approx(3 * bar["lower"], abs=0.02)
    assert bar["beyond"] is None
    assert not bar["open"]


def test_a_huge_kl_leaves_the_bar_and_does_not_squeeze_it():
    bar = figures.bracket_bar(Bracket(0.0, 0.1, 8.0, 6144.0, False, False))
    assert bar["kl"] is None
    assert bar["beyond"] == 6144
    assert bar["ceiling"] > 90


def rectangles(path):
    found = re.findall(r"M([\d.e+-]+) ([\d.e+-]+)V([\d.e+-]+)H([\d.e+-]+)", path)
    return [tuple(float(x) for x in one) for one in found]


def test_bars_stack_information_and_mismatch():
    drawn = figures.bars([latent(0, 1.0, 0.5), latent(1, 2.0, 0.0), latent(2, -0.1, 0.3)])
    assert [one.index for one in drawn["order"]] == [1, 0, 2]
    told, moved = rectangles(drawn["told"]), rectangles(drawn["moved"])
    heights = [bottom - top for _, bottom, top, _ in told]
    assert heights == pytest.approx([2000 / drawn["top"], 1000 / drawn["top"]], rel=1e-3)
    left, bottom, top, right = moved[0]
    assert (left, right) == (told[1][0], told[1][3])
    assert bottom == told[1][2]  # mismatch begins where information ends
    assert bottom - top == pytest.approx(500 / drawn["top"], rel=1e-2)
    assert moved[1][1] == 1000  # negative information is drawn as none


def test_dots_part_at_the_threshold():
    drawn = figures.bars(
        [latent(0, variance=0.02), latent(1, variance=0.005), latent(2, variance=0.0), latent(3, variance=None)]
    )
    assert drawn["active"].count("M") == 1
    assert drawn["idle"].count("M") == 2
    assert figures.level(0.01, 2.0) == pytest.approx(drawn["threshold"])
    assert drawn["idle"].split("M")[-1].split(" ")[1].startswith("1000")
    assert drawn["data"]["variance"].split() == ["0.02", "0.005", "0", "–"]


def test_the_order_of_the_latents_is_total(diagnosis):
    found = latents(diagnosis(count=0, word="collapsed"))
    assert figures.bars(found)["told"] == figures.bars(list(reversed(found)))["told"]
