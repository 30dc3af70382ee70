"""Made-up diagnoses in the shape of `Diagnosis.to_dict()`; the numbers are drawn, not measured."""

import base64
import json
import math
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest
from sklearn.datasets import load_digits

SENTENCES = {
    "healthy": "The code tells inputs apart: between {low:.2f} and {high:.2f} nats, spread over {live} latents.",
    "partial collapse": "{live} of {size} latents carry {low:.2f} to {high:.2f} nats; the others carry nothing.",
    "collapsed": "The posterior says the same about every input: at most {high:.2f} nats in {size} latents.",
    "off-prior collapse": "The KL is {kl:.0f} nats and tells nothing: every input has the same code.",
}
TESTS = (
    ("KL weight too large", "The loss weighs the KL 64 times as much as the ELBO does.",
     {"effective_beta": 64.0, "kl_gradient": 0.0213, "likelihood_gradient": 0.000333}),
    ("more latents than the data support", "At this weight and noise, 3 latents can stay active; the model has {size}.",
     {"supported": 3, "latents": 32, "threshold": 0.0412}),
    ("dead encoder head", "Every output of the mean's layer reacts to the input.", {"dead": 0}),
    ("encoder outside the optimiser", "Hand over the optimiser to test this.", None),
    ("decoder noise too large", "The decoder's variance is 0.11 of the data's.", {"ratio": 0.11}),
    ("schedule not finished", "Hand over the history of training to test this.", None),
    ("inference lag", "20 steps on the posterior close 0.02 nats of the gap.", {"gain": 0.02, "steps": 20}),
    ("autoregressive decoder", "The decoder sees nothing of x but its code.", {}),
    ("decoder ignores z", "Another input's code costs 11.20 nats.", {"gap": 11.2}),
    ("scale inflation", "The largest mean is 2.8 prior standard deviations out.", {"largest": 2.8}),
    ("prior hole", "The aggregate posterior lies 0.61 nats from the prior.", {"mismatch": 0.61}),
    ("too few examples", "2,000 examples can show up to 7.60 nats.", {"examples": 2000, "ceiling": 7.6}),
    ("duplicated data", "No input occurs twice.", {"share": 0.0}),
)  # fmt: skip
ADVICE = {
    "KL weight too large": {
        "title": "Sum the reconstruction over the pixels, as the KL is summed over the latents",
        "code": 'distortion = F.binary_cross_entropy(x_hat, x, reduction="none").flatten(1).sum(1).mean()\n'
        "loss = distortion + kl.sum(1).mean()",
        "why": "A mean over 784 pixels divides the likelihood by 784 and leaves the KL as it is, so that the KL wins.",
        "cost": "The loss is 784 times as large: lower the learning rate or clip the gradient.",
        "page": "docs/remedies/beta.md",
    },
    "more latents than the data support": {
        "title": "Raise the weight of the KL slowly",
        "code": "from uncollapse.remedies import Anneal\n\nobjective = Objective([Anneal(over=10_000)])",
        "why": "Latents that start without a price are used before they have to pay for themselves.",
        "cost": "More epochs, and the KL may sink again when the weight has reached one.",
        "page": "docs/remedies/anneal.md",
    },
}


def packed(images):
    data = base64.b64encode(zlib.compress(images.tobytes(), 9)).decode()
    return {"shape": list(images.shape), "data": data}


def pictures(keep, rng, n=24):
    digits = np.round(load_digits().images * 15.9375).astype(np.uint8)[:, None]
    real, mean = digits[:n], digits.mean(0, keepdims=True)
    own = np.clip(keep * real + (1 - keep) * mean + rng.normal(0, 6, real.shape), 0, 255)
    other = np.clip(keep * np.roll(real, 1, 0) + (1 - keep) * mean + rng.normal(0, 6, real.shape), 0, 255)
    return {"originals": packed(real), "reconstructions": packed(own.astype(np.uint8)),
            "shuffled": packed(other.astype(np.uint8))}  # fmt: skip


def make_latents(size, live, rng, off=False):
    rows = []
    for j in range(size):
        carries = j < live
        information = 0.9 * math.exp(-0.05 * j) * rng.uniform(0.6, 1.2) + 0.15 if carries else rng.uniform(0, 0.004)
        mismatch = 8.0 if off else rng.uniform(0.0, 0.12) * (1 if carries else 0.02)
        variance = 0.9 * rng.uniform(0.5, 1.1) if carries else 10 ** rng.uniform(-5.5, -2.4)
        scale = math.exp(-information) if carries else 1.0
        rows.append({
            "group": None, "kl": information + mismatch, "information": information, "mismatch": mismatch,
            "variance": variance, "mean": 4.0 * off + 0.02 * rng.normal(), "scale": scale,
            "word": "carries" if carries else "off-prior" if off else "dead",
        })  # fmt: skip
    rng.shuffle(rows)
    return [{"index": j, **row} for j, row in enumerate(rows)]


def make_local(count, live, rng, names, decodes=True):
    group = rng.integers(0, max(len(names), 1), count)
    centre = 2.2 * rng.normal(size=(max(len(names), 1), 2))
    full = 4.5 if live else 0.01
    information = np.clip(full * (0.75 + 0.13 * rng.normal(size=count)), 0, None)
    if len(names) > 1 and live:
        information[group == 0] = rng.uniform(0, 0.08, (group == 0).sum())
    kl = information + rng.uniform(0, 0.6, count) * (1 if live else 0.02)
    epsilon = np.where(information < 0.1, 5.2, information * 1.1) + rng.uniform(0, 1.5, count)
    spread = 0.55 if live else 1e-4
    places = (centre[group] if live else 0) + spread * rng.normal(size=(count, 2))
    return {
        "rows": sorted(rng.choice(5 * count, count, replace=False).tolist()),
        "information": information.tolist(), "kl": kl.tolist(), "epsilon": epsilon.tolist() if decodes else None,
        "label": [names[g] for g in group] if names else None, "map": places.tolist(), "map_share": 0.61,
        "collapsed_share": float((kl <= 0.1 * epsilon).mean()), "tau": 0.1,
    }  # fmt: skip


def make_classes(local, names):
    labels = np.array(local["label"])
    rows = []
    for name in names:
        here = labels == name
        information = float(np.mean(np.array(local["information"])[here])) if here.any() else None
        word = "collapsed" if information is not None and information < 0.1 else "carries"
        rows.append({"label": name, "n": int(here.sum()), "information": information, "kl": information,
                     "within": None if information is None else 0.6 * information,
                     "collapsed_share": 1.0 if word == "collapsed" else 0.01, "word": word})  # fmt: skip
    return rows


def estimate(value, se=0.03, n=10_000, unit="nats", flags=()):
    return {"value": value, "se": se, "n": n, "unit": unit, "flags": list(flags)}


def make_metrics(latents, low, high, decodes, budget):
    information, mismatch = (sum(row[key] for row in latents) for key in ("information", "mismatch"))
    found = {
        "kl": estimate(information + mismatch), "kl_information": estimate(information),
        "kl_mismatch": estimate(mismatch), "mi_lower": estimate(low), "mi_upper": estimate(high),
        "active_units": estimate(float(sum(row["variance"] >= 0.01 for row in latents)), None, unit="units"),
    }  # fmt: skip
    found |= (
        {"shuffle_gap": estimate(11.2 * (low > 0.1), 0.4, 1024), "distortion": estimate(71.3, 0.8, 1024)}
        if decodes
        else {}
    )
    heavy = ["Pareto k above 0.7 for 18% of examples"]
    return found | ({"nll": estimate(76.4, 0.9, 1024, flags=heavy)} if decodes and budget == "full" else {})


def make_tests(causes, size):
    rows = []
    for cause, said, numbers in TESTS:
        state = "untested" if numbers is None else "found" if cause in causes else "clear"
        rows.append({"cause": cause, "state": state, "sentence": said.format(size=size),
                     "strength": 0.9 * (state == "found"), "numbers": numbers or {}})  # fmt: skip
    place = {"found": 0, "clear": 1, "untested": 2}
    return sorted(rows, key=lambda row: place[row["state"]])


def make_diagnosis(word="partial collapse", size=32, live=7, count=2000, names="0123456789", decodes=True, images=True,
                   budget="quick", causes=None, seed=0):  # fmt: skip
    """A diagnosis; `names` are classes, none of them where it is empty."""
    rng = np.random.default_rng(seed)
    live = {"collapsed": 0, "off-prior collapse": 0}.get(word, min(live, size))
    latents = make_latents(size, live, rng, off=word == "off-prior collapse")
    low = 0.8 * sum(row["information"] for row in latents) if live else 0.0
    low, high = min(low, 7.1), min(low, 7.1) * 1.12 + (0.01 if live else 0)
    causes = list(causes if causes is not None else ADVICE if word != "healthy" else ())
    local = make_local(count, live, rng, list(names), decodes) if count else None
    metrics = make_metrics(latents, low, high, decodes, budget)
    said = SENTENCES.get(word, "{word}").format(
        low=low, high=high, live=live, size=size, kl=metrics["kl"]["value"], word=word)  # fmt: skip
    return json.loads(json.dumps({
        "format": 1, "name": "digits-vae",
        "verdict": {
            "word": word, "sentence": said, "borderline": None,
            "reasons": [f"Information lies between {low:.2f} and {high:.2f} nats (ceiling log N = 9.21).",
                        f"{live} of {size} latents carry at least 0.1 nats each."],
        },
        "metrics": metrics, "ceiling": math.log(10_000), "saturated": False, "latents": latents,
        "tests": make_tests(causes, size), "causes": causes, "advice": [{"cause": c, **ADVICE[c]} for c in causes],
        "contradictions": [], "remarks": [], "local": local,
        "classes": make_classes(local, list(names)) if names and local else None,
        "images": pictures(0.9 if live else 0.02, rng) if images and decodes else None,
        "model": {"class": "ConvVAE", "kind": "encode/decode", "latents": size, "groups": {},
                  "likelihood": "Bernoulli" if decodes else None, "prior": "standard normal", "parameters": 1_204_368,
                  "decodes": decodes},
        "data": {"n": 10_000, "shape": [1, 28, 28], "sampled": 1024, "dropped": 0},
        "budget": budget, "seconds": 6.42, "versions": {"uncollapse": "0.1.0", "torch": "2.13.0"},
        "command": "uncollapse diagnose model.py:make_model --weights w.safetensors --data mnist:test --out page.html",
    }))  # fmt: skip


@pytest.fixture(scope="session")
def diagnosis():
    """A factory of results."""
    return make_diagnosis


class Reader(HTMLParser):
    """What a browser would see: tags with attributes, the text of each script, and the text outside of them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.scripts, self.inside = [], "", [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.inside = tag if tag in ("script", "style") else None

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts.append(data)
        elif self.inside is None:
            self.text += data

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture(scope="session")
def read():
    """Reads a page as a browser would see it."""
    return Reader
