import errno
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from uncollapse.errors import WorkFailed
from uncollapse.report import figures, page, rows, write

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


class Reader(HTMLParser):
    """What a browser would see: tags with attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture(scope="module")
def built():
    pages = {}

    def build(key, header, results):
        if key not in pages:
            pages[key] = page.build(header, results)
        return pages[key]

    return build


@pytest.fixture
def text(built, study):
    return built("six", *study())


def test_the_page_is_alone_small_and_repeatable(study, text):
    header, results = study()
    assert page.build(header, list(reversed(results))) == text
    assert len(text.encode()) < 600_000
    seen = Reader(text)
    assert not [
        a for _, a in seen.tags for k in ("src", "href", "xlink:href") if re.match(r"(\w+:)?//", a.get(k) or "")
    ]
    assert not seen.all("script")
    assert "@import" not in text
    assert "url(http" not in text
    policy = next(a["content"] for a in seen.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy


def test_figures_speak_and_tables_have_heads(text):
    seen = Reader(text)
    assert all(a.get("aria-label") or a.get("aria-hidden") for a in seen.all("svg"))
    assert all(a.get("alt") for a in seen.all("img"))
    assert all(a.get("scope") in ("col", "row") for a in seen.all("th"))
    ids = [a["id"] for _, a in seen.tags if a.get("id")]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for a in seen.all("a") if a.get("href", "").startswith("#")}
    assert targets <= set(ids)
    assert len([a for a in seen.all("svg") if "nats" in a.get("aria-label", "")]) == 7  # six panels and the frontier


def test_all_that_matters_is_there(study, text):
    header, results = study()
    seen = Reader(text)
    for row in rows(results, header["arms"], header["seeds"]):
        assert row.arm in seen.text
        assert f"{row.cells['mi_lower'].mean:.2f}" in seen.text
    for result in results:
        assert all(reason in seen.text for reason in result["verdict"]["reasons"])
        assert all(source in seen.text for source in result["sources"])
        assert result["hash"] in seen.text
    for piece in ("uncollapse demo", "pixelcnn", "torch", "2.13.0", "0.0001", "log N", "log K"):
        assert piece in seen.text
    assert len(seen.all("img")) == 1 + 2 * 6


def test_plots_take_the_colours_of_the_page(text):
    assert not re.findall(r"#00(?:aa|bb)\w\w", text)
    svgs = re.findall(r'<svg role="img".*?</svg>', text, flags=re.S)
    assert {m for svg in svgs for m in re.findall(r"var\(--s\d+\)", svg)} == {f"var(--s{i})" for i in range(6)}
    assert all("#000000" not in svg and "#ffffff" not in svg for svg in svgs)


@pytest.mark.parametrize("field", ["arm", "title", "note", "command", "reason", "source", "device", "package", "flag"])
def test_nothing_in_the_data_becomes_markup(study, six_arms, field):
    header, results = study(
        {EVIL if field == "arm" else "a": six_arms["self critic"], "b": six_arms["free bits"]}, (0,)
    )
    first = results[0]
    if field in ("title", "note", "command"):
        header[field] = EVIL
    first["verdict"]["reasons"] += [EVIL] * (field == "reason")
    first["sources"] += [EVIL] * (field == "source")
    first["device"] = EVIL if field == "device" else "cpu"
    first["versions"] |= {EVIL: EVIL} if field == "package" else {}
    first["metrics"]["nll"]["flags"] = [EVIL] * (field == "flag")
    seen = Reader(page.build(header, results))
    assert not seen.all("script")
    assert not [a for _, a in seen.tags if "onerror" in a]
    assert EVIL in seen.text


def test_twelve_long_methods_with_holes_still_fit(study, six_arms):
    values = list(six_arms.values())
    names = [f"{'a very long name of a method ' * 3}{i}" for i in range(10)] + ["日本語 ☃ $x$", "bad\ud800sign"]
    header, results = study({name: values[i % 6] for i, name in enumerate(names)}, seeds=(0, 1, 2))
    results = [r for r in results if r["arm"] != names[3] and (r["arm"], r["seed"]) != (names[4], 1)]
    for result in results:
        if result["arm"] == names[5]:
            result |= {"history": None, "spectrum": [], "images": None, "mi": None, "sources": None, "versions": None}
            for metric in result["metrics"].values():
                metric |= {"value": math.nan, "se": None}
    text = page.build(header, results)
    assert len(text.encode(errors="replace")) < 1_000_000
    seen = Reader(text)
    assert "0 of 3 seeds" in seen.text
    assert "2 of 3 seeds" in seen.text
    assert "nan" not in seen.text.split("Every metric")[0]


def test_the_page_ranks_nothing_across_data(study):
    header, results = study(images=False)
    results[-1]["run"]["data_fingerprint"] = "other"
    text = page.build(header, results)
    seen = Reader(text)
    note = text.split('role="note"')[1].split("</div>")[0]
    assert "cannot be ranked" in note
    assert "hybrid critic: digits other" in note
    assert '<span class="star">' not in text
    assert not re.search(r'<td role="cell"[^>]*><b>', text)
    for gone in ("best of a column", "paired by seed", "Information and likelihood", "lowest NLL"):
        assert gone not in seen.text
    assert all(result["verdict"]["word"] in seen.text for result in results)


def test_signs_on_the_page(study, six_arms):
    crossed = (*six_arms["plain VAE"][:4], -0.05, 1, "undetermined", None)
    header, results = study({"a": crossed, "b": six_arms["self critic"]}, images=False)
    results[2]["metrics"]["nll"]["flags"] = ["Pareto k above 0.7 for 18% of examples"]
    for result in results:
        result["reference"] = {"density": 0.73, "coverage": 0.88}
    text = page.build(header, results)
    seen = Reader(text)
    assert text.count('<span class="star">†</span>') == 1
    for piece in (
        "† importance weights",
        "real data 0.73",
        "real data 0.88",
        "→0.73",
        "KL mismatch, summed over latents",
    ):
        assert piece in seen.text
    low, high = (np.mean([r["metrics"][key]["value"] for r in results[:2]]) for key in ("mi_upper", "mi_lower"))
    assert f"≈ {low:.2f} – {high:.2f}" in seen.text
    assert 'class="chip v-undetermined"' in text


def test_one_seed_one_arm_no_images(study, six_arms):
    header, results = study({"only": six_arms["self critic"]}, seeds=(0,), images=False)
    seen = Reader(page.build(header, results))
    assert "Only keeps at least" in seen.text
    assert not seen.all("img")
    assert "paired by seed" not in seen.text


def test_no_results_at_all():
    seen = Reader(page.build({"name": "empty", "arms": ["a", "b"], "seeds": [0]}, []))
    assert "No run has finished yet." in seen.text


def test_damaged_images_become_a_remark(study):
    header, results = study()
    results[0]["images"]["samples"]["data"] = "AAAA"
    seen = Reader(page.build(header, results))
    assert "The samples of plain VAE, seed 0, cannot be shown" in seen.text
    assert len(seen.all("img")) == 2 * 6


def test_large_pictures_stay_in_the_budget(study, six_arms):
    header, results = study({"a": six_arms["plain VAE"], "b": six_arms["self critic"]}, seeds=(0,))
    from base64 import b64encode
    from zlib import compress

    for result in results:
        for kind in result["images"]:
            noise = np.random.default_rng(len(kind)).integers(0, 256, (64, 3, 64, 64), np.uint8)
            data = b64encode(compress(noise.tobytes(), 1)).decode()
            result["images"][kind] = {"shape": list(noise.shape), "data": data}
    assert len(page.build(header, results)) < 1_000_000


def test_write_is_atomic(study, tmp_path, monkeypatch):
    header, results = study({"a": (20.0, 1.0, 0.1, 0.9, 0.1, 3, "healthy", None)}, seeds=(0,), images=False)
    target = tmp_path / "deep" / "page.html"
    assert write(header, results, target) == target
    before = target.read_bytes()
    assert before == page.build(header, results).encode()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(WorkFailed, match=r"page\.html.*No space left on device"):
        page.write(header | {"title": "new"}, results, target)
    assert target.read_bytes() == before
    assert [p.name for p in target.parent.iterdir()] == ["page.html"]


def test_a_path_that_cannot_be_is_a_sentence(study, tmp_path):
    header, results = study({"a": (20.0, 1.0, 0.1, 0.9, 0.1, 3, "healthy", None)}, seeds=(0,), images=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkFailed, match="choose another path"):
        page.write(header, results, tmp_path / "file" / "page.html")


def test_drawing_leaves_the_settings_of_matplotlib_alone(study):
    import matplotlib

    before = dict(matplotlib.rcParams)
    _, results = study(images=False)
    figures.training("t", results[:2], 0, figures.scale(results), "label")
    assert dict(matplotlib.rcParams) == before


def test_importing_the_report_loads_no_plots():
    code = "import sys, uncollapse.report; assert not {'matplotlib', 'jinja2', 'rich'} & set(sys.modules)"
    subprocess.run([__import__("sys").executable, "-c", code], check=True)


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = np.array([c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels])
    return linear, float(linear @ [0.2126, 0.7152, 0.0722])


def lab(linear):
    matrix = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(matrix) @ np.clip(linear, 0, 1) / [0.9505, 1, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


SIGHT = {  # Machado, Oliveira and Fernandes 2009, severity 1
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


@pytest.mark.parametrize("mode", [0, 1])
def test_colours_can_be_read_and_told_apart(mode):
    css = (page.HERE / "page.css").read_text().split("prefers-color-scheme: dark")[mode]
    found = dict(re.findall(r"--(\w+): (#\w{6})", css))
    paper = luminance(found["paper"])[1]

    def contrast(name):
        low, high = sorted((luminance(found[name])[1], paper))
        return (high + 0.05) / (low + 0.05)

    for name in ("ink", "soft", "muted", "accent", "good", "warn", "bad", "odd"):
        assert contrast(name) >= 4.5
    for i in range(figures.COLOURS):
        assert contrast(f"s{i}") >= 3
    for matrix in SIGHT.values():
        seen = [lab(np.array(matrix) @ luminance(found[f"s{i}"])[0]) for i in range(12)]
        apart = {(i, j): np.linalg.norm(seen[i] - seen[j]) for i in range(12) for j in range(i)}
        assert min(d for (i, _), d in apart.items() if i < 6) > 15
        assert min(apart.values()) > 10


def browse(path, tmp_path, *options):
    quiet = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
    quiet += " disable-component-update disable-sync hide-scrollbars enable-logging=stderr"
    command = [CHROMIUM, *(f"--{option}" for option in quiet.split()), f"--user-data-dir={tmp_path / 'profile'}"]
    return subprocess.run([*command, *options, path.as_uri()], capture_output=True, text=True, timeout=120, check=True)


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found")
def test_a_browser_shows_it_without_complaint(text, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(text)
    done = browse(path, tmp_path, "--dump-dom")
    assert "CONSOLE" not in done.stderr
    assert "The methods side by side" in done.stdout
    assert done.stdout.count("<svg") == text.count("<svg")
    for width in (390, 1440):
        shot = tmp_path / f"{width}.png"
        assert "CONSOLE" not in browse(path, tmp_path, f"--window-size={width},1200", f"--screenshot={shot}").stderr
        pixels = np.asarray(Image.open(shot).convert("L"))
        assert pixels.std() > 10

    path.write_text(text.replace("</body>", '<img src="https://example.org/x.png" alt="x"></body>'))
    assert "CONSOLE" in browse(path, tmp_path, "--dump-dom").stderr  # so that silence above means something


def test_texts_are_shown_and_stay_texts(study):
    header, results = study(images=False)
    lines = {
        "originals": ["the <script>alert(1)</script> end", "two"],
        "reconstructions": ["the start", "too"],
        "samples": ["qrs sample"],
        "interpolation": ["qrs from", "qrs to"],
    }
    results[0]["texts"] = lines
    shown = page.build(header, results)
    assert "What the models write" in shown
    assert "the &lt;script&gt;alert(1)&lt;/script&gt; end</td><td>the start" in shown
    assert shown.index("qrs from") < shown.index("qrs to") < shown.index("qrs sample")
    results[0]["texts"] = None
    assert "What the models write" not in page.build(header, results)
