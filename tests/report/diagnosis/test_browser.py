"""The page in a real browser: three widths, no complaint, search and sorting work."""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile

import pytest

from uncollapse.report import page
from uncollapse.report.diagnosis import write

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found")]
#: becomes the browser, with our two pipes as its descriptors 3 and 4
WIRE = """
import fcntl, os, sys
kept = [fcntl.fcntl(int(pipe), fcntl.F_DUPFD, 20) for pipe in sys.argv[1:3]]
os.dup2(kept[0], 3), os.dup2(kept[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """Chromium over its debugging pipe: real widths, keys, and what it complains about."""

    def __init__(self, program):
        self.folder = tempfile.mkdtemp()
        ours, self.out = os.pipe()
        self.inp, theirs = os.pipe()
        quiet = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking "
        quiet += "disable-component-update disable-sync hide-scrollbars remote-debugging-pipe"
        command = [
            program,
            *(f"--{option}" for option in quiet.split()),
            f"--user-data-dir={self.folder}",
            "about:blank",
        ]

        self.process = subprocess.Popen(
            [sys.executable, "-c", WIRE, str(ours), str(theirs), *command],
            pass_fds=(ours, theirs), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(ours), os.close(theirs)
        self.count, self.rest, self.session, self.complaints, self.events = 0, b"", None, [], []
        target = next(t for t in self.send("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self.session = self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def read(self):
        while b"\0" not in self.rest:
            chunk = os.read(self.inp, 1 << 16)
            if not chunk:
                raise EOFError("the browser went away")
            self.rest += chunk
        line, self.rest = self.rest.split(b"\0", 1)
        message = json.loads(line)
        if message.get("method") in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
            self.complaints.append(message["params"])
        self.events.append(message.get("method"))
        return message

    def send(self, method, **parameters):
        self.count += 1
        message = {"id": self.count, "method": method, "params": parameters}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while (answer := self.read()).get("id") != self.count:
            pass
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["result"]

    def open(self, path, width, height=1000, dark=False):
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.send(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}],
        )
        self.events.clear()
        self.send("Page.navigate", url=path.as_uri())
        while "Page.loadEventFired" not in self.events:
            self.read()

    def run(self, code):
        answer = self.send("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def press(self, key):
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key)

    def shot(self, path, whole=True):
        data = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def pdf(self, path):
        path.write_bytes(base64.b64decode(self.send("Page.printToPDF", printBackground=True)["data"]))

    def close(self):
        self.send("Browser.close")
        self.process.wait(20)
        os.close(self.out), os.close(self.inp)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def browser():
    found = Browser(CHROMIUM)
    yield found
    found.close()


@pytest.fixture(scope="module")
def pages(diagnosis, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    kinds = {
        "partial": {}, "wide": {"size": 512, "live": 60, "count": 200},
        "healthy": {"word": "healthy", "size": 2, "count": 30},
        "blind": {"decodes": False, "count": 30}, "bare": {"names": "", "count": 0, "images": False},
    }  # fmt: skip
    found = {kind: write(diagnosis(**more), folder / f"{kind}.html") for kind, more in kinds.items()}
    long = diagnosis(count=30, size=6, names=["a very long name of a class " * 4, "x" * 90])
    long["name"], long["model"]["class"], long["remarks"] = "N" * 120, "C" * 90, ["r" * 200]
    long["advice"][0]["code"] = "y" * 200
    return found | {"long": write(long, folder / "long.html")}


@pytest.mark.parametrize("kind", ["partial", "wide", "healthy", "blind", "bare", "long"])
def test_no_complaint_and_no_sideways_scrolling(browser, pages, kind):
    for width in (390, 820, 1280):
        browser.open(pages[kind], width)
        browser.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        assert browser.run("document.documentElement.scrollWidth") <= width
        assert browser.complaints == []


def test_a_foreign_script_is_refused(browser, pages, tmp_path):
    path = tmp_path / "foreign.html"
    path.write_text(pages["bare"].read_text().replace("</body>", "<script>window.foreign = 1</script></body>"))
    browser.open(path, 1280)
    assert browser.run("window.foreign") is None
    assert "Content Security Policy" in json.dumps(browser.complaints)
    browser.complaints.clear()


def type_into(browser, field, text):
    browser.run(
        f"(f => {{ f.value = {text!r}; f.dispatchEvent(new Event('input')); }})(document.querySelector('{field}'))"
    )


def test_search_by_row(browser, pages, diagnosis):
    local = diagnosis()["local"]
    browser.open(pages["partial"], 1280)
    type_into(browser, "#find-row", str(local["rows"][77]))
    said = browser.run("document.querySelector('#row-read').textContent")
    assert said.startswith(f"Row {local['rows'][77]}, label {local['label'][77]}, information ")
    assert f"information {float(format(local['information'][77], '.3g')):g} nats" in said
    dot, ring = (browser.run(f"[...['cx', 'cy']].map(k => document.querySelector('#map-chart {q}').getAttribute(k))")
                 for q in (f"[data-r=\"{local['rows'][77]}\"]", ".ring"))  # fmt: skip
    assert [float(x) for x in dot] == [float(x) for x in ring]
    assert (
        browser.run("[...document.querySelectorAll('.ring')].map(r => r.getAttribute('visibility'))") == ["visible"] * 2
    )
    absent = next(row for row in range(10_000) if row not in local["rows"])
    type_into(browser, "#find-row", str(absent))
    assert f"Row {absent} is not among the 2000 inputs shown" in browser.run(
        "document.querySelector('#row-read').textContent"
    )
    type_into(browser, "#find-row", "seven")
    assert "whole number" in browser.run("document.querySelector('#row-read').textContent")
    assert browser.complaints == []


def test_a_hostile_label_stays_text(browser, diagnosis, tmp_path):
    label = "<img src=x onerror='window.foreign = 1'>\"&"
    result = diagnosis(count=20, names=[label], size=3)
    browser.open(write(result, tmp_path / "hostile.html"), 820)
    browser.run("document.querySelector('[data-colour=label]').click()")
    type_into(browser, "#find-row", str(result["local"]["rows"][3]))
    assert f"label {label}, information" in browser.run("document.querySelector('#row-read').textContent")
    assert f"label {label}" in browser.run("document.querySelector('#map-chart .tip').textContent")
    assert browser.run("[document.querySelectorAll('img[onerror]').length, window.foreign ?? 0]") == [0, 0]
    assert browser.complaints == []


def test_pointing_and_arrow_keys(browser, pages, diagnosis):
    rows = diagnosis()["local"]["rows"]
    browser.open(pages["partial"], 820)
    browser.run("document.querySelector('#map-chart svg').focus()")
    for key, row in (("Home", rows[0]), ("ArrowRight", rows[1]), ("End", rows[-1])):
        browser.press(key)
        assert browser.run("document.querySelector('#row-read').textContent").startswith(f"Row {row},")
    where = browser.run(f"""(() => {{ const dot = document.querySelector('#local-chart [data-r="{rows[5]}"]');
        dot.scrollIntoView({{behavior: 'instant', block: 'center'}}); const box = dot.getBoundingClientRect();
        return [box.x + box.width / 2, box.y + box.height / 2]; }})()""")
    browser.send("Input.dispatchMouseEvent", type="mouseMoved", x=where[0], y=where[1])
    shown = browser.run(
        "[document.querySelector('#local-chart .tip').hidden, document.querySelector('#map-chart .tip').hidden]"
    )
    assert shown == [False, True]
    assert browser.complaints == []


def test_latents_are_sorted_in_figure_and_table(browser, pages, diagnosis):
    latents = diagnosis()["latents"]
    browser.open(pages["partial"], 1280)
    before = browser.run("document.querySelector('.told').getAttribute('d')")
    for key in ("index", "kl", "variance", "information"):
        browser.run(f"document.querySelector('[data-sort={key}]').click()")
        order = browser.run("[...document.querySelectorAll('#latent-table tbody tr')].map(r => +r.dataset.i)")
        names = browser.run("[...document.querySelectorAll('.names li')].map(r => +r.textContent)")
        values = [latents[i][key] for i in order]
        assert order == names
        assert values == pytest.approx(sorted(values, reverse=key != "index"), rel=1e-3)
        assert sorted(order) == list(range(32))
        assert browser.run(f"document.querySelector('[data-sort={key}]').getAttribute('aria-pressed')") == "true"
        again = browser.run("document.querySelector('.told').getAttribute('d')") == before
        assert again == (key == "information")
    type_into(browser, "#find-latent", "5")
    assert browser.run("document.querySelector('#latent-read').textContent").startswith(
        f"Latent 5, {latents[5]['word']}: KL"
    )
    assert browser.run("document.querySelector('#latent-table .found').dataset.i") == "5"


def test_colour_by_label_and_one_label_alone(browser, pages, diagnosis):
    labels = diagnosis()["local"]["label"]
    browser.open(pages["partial"], 390, dark=True)
    browser.run("document.querySelector('[data-colour=label]').click()")
    heights = "['.by-label', '.by-information'].map(q => document.querySelector('.legend' + q).offsetHeight > 0)"
    assert browser.run(heights) == [True, False]
    browser.run("document.querySelector('[data-label=\"3\"]').click()")
    assert browser.run("document.querySelectorAll('#map-chart .dim').length") == 2000 - labels.count("3")
    browser.run("document.querySelector('[data-colour=information]').click()")
    assert browser.run("document.querySelectorAll('.dim').length") == 0


def test_copy_button_copies_the_lines(browser, pages, diagnosis):
    browser.open(pages["partial"], 1280)
    browser.run(
        "Object.defineProperty(navigator, 'clipboard', {value: {writeText: async (text) => { window.copied = text; }}})"
    )
    browser.run("document.querySelector('.copy').click()")
    assert browser.run("window.copied") == diagnosis()["advice"][0]["code"]
    assert browser.run("document.querySelector('.copy').textContent") == "Copied"


def test_without_the_script_it_can_be_read_and_it_prints(browser, pages, tmp_path):
    browser.send("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(pages["partial"], 1280)
    browser.pdf(tmp_path / "page.pdf")
    browser.send("Emulation.setScriptExecutionDisabled", value=False)
    seen = browser.run("""['.controls', '.copy', '.readout'].map(q => document.querySelector(q).offsetHeight)
        .concat(document.querySelector('.told').getBoundingClientRect().height > 50)""")
    assert seen == [0, 0, 0, True]
    assert (tmp_path / "page.pdf").read_bytes().count(b"/Type /Page\n") >= 3


HOSTILE = (
    "<script>document.title='pwned'</script>",
    '"><img src=x onerror="document.title=\'pwned\'">',
    "'><svg onload=document.title='pwned'><text>svg</text></svg>",
    "javascript:document.title='pwned'",
    "</style></title></textarea><script>document.title='pwned'</script>",
    "{{7*7}} ${7*7} {% raw %} $\\frac{",
    "<a href=\"javascript:document.title='pwned'\">link</a><base href=//evil>",
    "<meta http-equiv=refresh content=0;url=//evil>",
    "&lt;script&gt; <!-- --> ]]> \u202eright to left\u202c \x1b[31m \x00",
)
OURS = {"data", "word", "unit", "state", "hash"}  # what no user writes: packed pixels, our words


def spoiled(value, turn):
    """The same with every text that a user may give replaced by a hostile one, keys of open tables included."""
    if isinstance(value, str):
        turn[0] += 1
        return HOSTILE[turn[0] % len(HOSTILE)] + f" {turn[0]}"
    if isinstance(value, list):
        return [spoiled(one, turn) for one in value]
    if isinstance(value, dict):
        return {key: one if key in OURS and not isinstance(one, dict | list) else spoiled(one, turn)
                for key, one in value.items()}  # fmt: skip
    return value


def hostile_study(study):
    header, results = study(seeds=(0,))
    turn, names = [0], {}
    for arm in header["arms"]:
        names[arm] = spoiled(arm, turn)
    made = []
    for result in results:
        one = spoiled(result, turn) | {"arm": names[result["arm"]], "images": result["images"]}
        one["versions"] |= {HOSTILE[0]: HOSTILE[1]}
        one["run"]["model"] |= {HOSTILE[2]: HOSTILE[3]}
        made.append(one)
    arms = {"arms": list(names.values()), "baseline": names[header["baseline"]], "remarks": list(HOSTILE)}
    return spoiled(header, turn) | arms, made


LOOK = """({
    title: document.title, scripts: document.scripts.length, bases: document.querySelectorAll('base').length,
    images: [...document.images].filter(one => !one.src.startsWith('data:')).length,
    handlers: [...document.querySelectorAll('*')].flatMap(e => [...e.attributes]).filter(a => /^on/.test(a.name)),
    links: [...document.querySelectorAll('[href]')].filter(e => /^\\s*javascript/i.test(e.attributes.href.value)),
    metas: document.querySelectorAll('meta[http-equiv=refresh]').length,
    broken: document.querySelectorAll('parsererror').length,
    text: document.body.textContent,
})"""


@pytest.mark.parametrize("kind", ["study", "diagnosis"])
def test_pages_of_strangers(browser, study, diagnosis, tmp_path, kind):
    """Whatever a user, a data set or a file name says stays text in a real browser, and nothing complains."""
    path = tmp_path / f"{kind}.html"
    if kind == "study":
        page.write(*hostile_study(study), path)
    else:
        made = diagnosis(count=40, size=6, names=list(HOSTILE[:5]))
        write(spoiled(made, [0]) | {"images": made["images"], "tests": made["tests"]}, path)
    browser.complaints.clear()
    browser.open(path, 1280)
    browser.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    seen = browser.run(LOOK)
    assert "pwned" in seen["text"]
    assert not seen["title"].startswith("pwned")
    assert seen["title"].endswith(" · uncollapse")
    assert (seen["scripts"], seen["bases"], seen["images"]) == (kind == "diagnosis", 0, 0)
    assert (seen["handlers"], seen["links"], seen["metas"], seen["broken"]) == ([], [], 0, 0)
    assert "{{7*7}}" in seen["text"]
    assert "\\u202eright to left\\u202c \\x1b[31m \\x00" in seen["text"]
    assert not {"\u202e", "\x1b"} & set(seen["text"])
    assert browser.complaints == []
    if os.environ.get("UNCOLLAPSE_SHOTS"):
        browser.shot(tmp_path.parent / f"{kind}.png")
