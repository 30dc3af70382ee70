"""The page: alone, small, escaped, repeatable, readable without its script, and whole when parts are missing."""

import base64
import hashlib
import re

import numpy as np
import pytest

from uncollapse.errors import WorkFailed
from uncollapse.report.diagnosis import build, page, write
from uncollapse.report.document import TEMPLATES


@pytest.fixture(scope="module")
def text(diagnosis):
    return build(diagnosis())


def test_one_file_without_network_and_the_same_bytes_every_time(diagnosis, text, read):
    assert build(diagnosis()) == text
    seen = read(text)
    linked = [a.get(key) for _, a in seen.tags for key in ("src", "href", "xlink:href") if a.get(key)]
    assert linked
    assert all(address.startswith(("#", "data:")) for address in linked)
    assert "@import" not in text
    assert "url(" not in text


def test_only_its_own_script_may_run(text, read):
    seen = read(text)
    assert seen.scripts == [(TEMPLATES / "diagnosis.js").read_text()]
    digest = base64.b64encode(hashlib.sha256(seen.scripts[0].encode()).digest()).decode()
    policy = next(a["content"] for a in seen.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert f"script-src 'sha256-{digest}';" in policy
    assert "unsafe" not in policy.replace("style-src 'unsafe-inline'", "")
    assert not [name for _, a in seen.tags for name in a if name.startswith("on")]


def test_parts_stand_in_the_order_in_which_they_are_told(text):
    heads = re.findall(r'<section id="(\w+)"', text)
    assert heads == ["causes", "evidence", "latents", "map", "local", "images", "tests", "measured"]
    assert text.index('class="word"') < text.index("<h1>") < text.index('class="facts"') < text.index('id="causes"')


def test_a_screen_reader_finds_its_way(diagnosis, read):
    result = diagnosis(size=40)
    for i, latent in enumerate(result["latents"]):
        latent["group"] = f"level {i // 20}"
    seen = read(build(result))
    assert all(a.get("aria-label") or a.get("aria-hidden") for a in seen.all("svg"))
    assert all(a.get("alt") for a in seen.all("img"))
    assert all(a.get("scope") in ("col", "row") for a in seen.all("th"))
    ids = [a["id"] for _, a in seen.tags if a.get("id")]
    assert len(ids) == len(set(ids))
    meant = [a["href"][1:] for a in seen.all("a") if a["href"].startswith("#")]
    meant += [
        name for _, a in seen.tags for key in ("aria-labelledby", "aria-describedby") for name in a.get(key, "").split()
    ]
    assert set(meant) <= set(ids)
    assert all(a.get("tabindex") == "0" for _, a in seen.tags if a.get("class", "").startswith("scroll"))


def test_verdict_numbers_causes_and_advice_are_there(diagnosis, text, read):
    result, seen = diagnosis(), read(text)
    said = [result["verdict"]["sentence"], *result["verdict"]["reasons"], result["command"]]
    said += [test["sentence"] for test in result["tests"]]
    said += [advice[key] for advice in result["advice"] for key in ("title", "code", "why", "cost", "page")]
    for piece in said:
        assert piece in seen.text
    for metric in ("mi_lower", "mi_upper", "kl"):
        assert f"{result['metrics'][metric]['value']:.2f}" in seen.text
    assert "log N = 9.21" in seen.text
    assert "◐" in seen.text
    assert "Pareto" in read(build(diagnosis(budget="full", count=50))).text


def test_causes_come_ranked_with_their_advice(diagnosis):
    causes = ["more latents than the data support", "KL weight too large"]
    text = build(diagnosis(causes=causes, count=50))
    section = text[text.index('id="causes"') : text.index('id="evidence"')]
    assert (
        section.index(causes[0])
        < section.index("Raise the weight")
        < section.index(causes[1])
        < section.index("Sum the")
    )


def test_every_point_carries_its_numbers(diagnosis, text, read):
    result, seen = diagnosis(), read(text)
    dots = [a for a in seen.all("circle") if "data-r" in a]
    assert len(dots) == 2 * 2000
    local, rows = result["local"], result["local"]["rows"]
    for dot in dots[::250]:
        i = rows.index(int(dot["data-r"]))
        assert float(dot["data-i"]) == pytest.approx(local["information"][i], rel=5e-3)
        assert float(dot["data-k"]) == pytest.approx(local["kl"][i], rel=5e-3)
        assert ("o" in dot["class"].split()) == (local["information"][i] < 0.1)


@pytest.mark.parametrize("size", [1, 2, 512, 3000])
def test_any_number_of_latents(diagnosis, size, read):
    text = build(diagnosis(size=size, live=min(size, 60), count=2000 if size == 512 else 30))
    assert len(text.encode()) < 3_000_000
    seen = read(text)
    chart = next(a for a in seen.all("div") if a.get("id") == "latent-chart")
    assert len(chart["data-kl"].split()) == len(chart["data-index"].split()) == size
    assert text.count("<tr data-i=") == min(size, page.MOST_LATENTS)
    assert ("are listed" in seen.text) == (size > page.MOST_LATENTS)


def test_a_healthy_model_has_no_cause(diagnosis, read):
    seen = read(build(diagnosis(word="healthy", live=32, count=50)))
    assert "Nothing stands out as a cause" in seen.text
    assert "11 came out clear, 2 could not be run" in seen.text


def test_an_off_prior_collapse_has_its_kl_beyond_the_bar(diagnosis, read):
    seen = read(build(diagnosis(word="off-prior collapse", count=50)))
    assert "lies far to the right of this bar" in seen.text
    assert "◌ off-prior" in " ".join(seen.text.split())


def test_without_a_decoder_the_page_says_what_that_leaves_open(diagnosis, read):
    seen = read(build(diagnosis(decodes=False, count=50)))
    for piece in (
        "whether anything reads this code cannot be said",
        "it needs a decoder",
        "no decoder, so there are no",
    ):
        assert piece in seen.text
    assert not seen.all("img")


def test_without_labels_there_is_no_choice_of_colour(diagnosis, read):
    seen = read(build(diagnosis(names="", count=50)))
    assert "No labels were given" in seen.text
    assert not [a for a in seen.all("button") if "data-colour" in a]


def test_what_is_known_of_a_few_inputs_only_says_so(diagnosis, read):
    result = diagnosis(count=200)
    result["local"]["epsilon"] = result["local"]["epsilon"][:64]
    text = build(result)
    assert "of the 64 inputs looked at that closely are collapsed" in read(text).text
    panel = text[text.index('id="local-chart"') :]
    assert panel.count("data-r=") == 64


def test_classes_say_what_is_known_beside_the_label(diagnosis, read):
    result = diagnosis(count=100, names="ab")
    result["classes"][1] |= {"within": 0.01, "word": "label only"}
    seen = read(build(result))
    assert "label only" in seen.text
    assert "within it, nats" in seen.text
    for row in result["classes"]:
        del row["within"]
    assert "within it, nats" not in read(build(result)).text


def test_one_class_and_many(diagnosis, read):
    assert "By class" in read(build(diagnosis(names=["all"], count=50))).text
    text = build(diagnosis(names=[f"kind {i}" for i in range(150)], count=600))
    assert "more labels in grey" in text
    assert "The 100 classes with the least information, of 150" in text
    assert len([a for a in read(text).all("button") if "data-label" in a]) == 24


def test_damaged_images_become_a_sentence(diagnosis, read):
    result = diagnosis(count=20)
    result["images"]["shuffled"]["data"] = "AAAA"
    seen = read(build(result))
    assert "The images cannot be shown" in seen.text
    assert not seen.all("img")


def test_large_images_stay_in_the_budget_and_in_step(diagnosis):
    from zlib import compress

    result, rng = diagnosis(count=20), np.random.default_rng(0)
    for n, kind in zip((64, 64, 20), result["images"], strict=True):
        noise = rng.integers(0, 256, (n, 3, 64, 64), np.uint8)
        data = base64.b64encode(compress(noise.tobytes(), 1)).decode()
        result["images"][kind] = {"shape": list(noise.shape), "data": data}
    text = build(result)
    assert len(text) < 1_500_000
    counts = re.findall(r'alt="(\d+) inputs', text)
    assert counts
    assert int(counts[0]) <= 20


def test_write_is_whole_or_nothing(diagnosis, tmp_path):
    target = tmp_path / "deep" / "page.html"
    result = diagnosis(count=20, images=False)
    assert write(result, target) == target
    assert target.read_text() == build(result)
    assert [p.name for p in target.parent.iterdir()] == ["page.html"]
    with pytest.raises(WorkFailed, match="choose another path"):
        write(result, target / "page.html")


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("mode", [0, 1])
def test_the_colours_of_information_can_be_read_and_ordered(mode):
    base = (TEMPLATES / "page.css").read_text().split("prefers-color-scheme: dark")[mode]
    own = (TEMPLATES / "diagnosis.css").read_text().split("@media print")[0].split("prefers-color-scheme: dark")[mode]
    paper = luminance(re.search(r"--paper: (#\w{6})", base)[1])
    found = dict(re.findall(r"--(\w+): (#\w{6})", own))
    for name in ("told", "moved", *(f"q{i}" for i in range(7))):
        low, high = sorted((luminance(found[name]), paper))
        assert (high + 0.05) / (low + 0.05) >= 3, name
    steps = [luminance(found[f"q{i}"]) for i in range(7)]
    assert steps == sorted(steps, reverse=mode == 0)  # more information: further from the paper
