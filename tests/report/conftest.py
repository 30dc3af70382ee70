"""Made-up results that look like a study of digits; the numbers are drawn, not measured."""

import base64
import math
import zlib

import numpy as np
import pytest
from sklearn.datasets import load_digits

ARMS = {  # NLL, KL, mismatch, lower, gap, active, verdict, log K
    "plain VAE": (21.4, 0.31, 0.02, 0.27, 0.03, 1, "collapsed", None),
    "KL annealing": (21.1, 2.04, 0.11, 1.88, 0.16, 4, "partial collapse", None),
    "free bits": (20.9, 4.42, 0.61, 3.02, 1.05, 16, "partial collapse", None),
    "self critic": (21.9, 7.81, 1.02, 4.93, 1.55, 16, "healthy", math.log(128)),
    "neural critic": (21.6, 6.32, 0.95, 4.21, 1.06, 14, "healthy", math.log(128)),
    "hybrid critic": (21.7, 8.95, 2.41, 5.02, 1.71, 16, "prior hole", math.log(128)),
}
CEILING = math.log(360)


def packed(images):
    data = base64.b64encode(zlib.compress(images.tobytes(), 9)).decode()
    return {"shape": list(images.shape), "data": data}


def pictures(information, seed, n=24):
    digits = np.round(load_digits().images * 15.9375).astype(np.uint8)[:, None]
    rng = np.random.default_rng(seed)
    real, other = digits[:n], digits[rng.integers(0, len(digits), n)]
    keep = min(1.0, information / 5)
    noisy = keep * real + (1 - keep) * other + rng.normal(0, 12, real.shape)
    loose = digits[rng.integers(0, len(digits), n)] + rng.normal(0, 40 * keep + 8, real.shape)
    return {
        "originals": packed(real),
        "reconstructions": packed(np.clip(noisy, 0, 255).astype(np.uint8)),
        "samples": packed(np.clip(loose, 0, 255).astype(np.uint8)),
    }


def history(kl, lower, upper, rng, steps=28, collapse=False):
    entries = []
    for i in range(1, steps + 1):
        rise = 1 - math.exp(-5 * i / steps)
        early = 1.6 * math.exp(-((i - 3) ** 2) / 12) if collapse else 0.0
        wobble = 1 + 0.02 * rng.normal()
        entries.append(
            {
                "step": 50 * i,
                "epoch": 1.5 * i,
                "mi_lower": lower * rise * wobble + 0.8 * early,
                "mi_upper": upper * rise * wobble + early,
                "kl": kl * rise * wobble + 1.3 * early,
                "active_units": 4.0,
                "valid": {"distortion": 20.0, "rate": kl, "score": 22.0},
                "train": {"distortion": 20.0, "rate": kl},
            }
        )
    return entries


def make_result(arm, seed, values, position=0, size=16, images=True):
    nll, kl, mismatch, lower, gap, active, word, critic = values
    rng = np.random.default_rng([seed, position])
    jitter = 1 + 0.02 * rng.normal()
    kl, lower, nll = kl * jitter, lower * jitter, nll + 0.08 * rng.normal()
    upper = lower + gap * jitter
    active = max(0, active - (seed % 2 if 1 < active < size else 0))
    spectrum = [float(0.9 * math.exp(-0.08 * j) * rng.uniform(0.7, 1.1)) for j in range(active)]
    spectrum += [float(10 ** rng.uniform(-4.6, -2.6)) for _ in range(size - active)]
    rng.shuffle(spectrum)
    shares = {
        "density": 0.62 + 0.04 * lower,
        "coverage": 0.7 + 0.03 * lower,
        "precision": 0.8,
        "recall": 0.7,
        "probe": 0.12 + 0.17 * lower,
    }
    nats = {
        "nll": nll,
        "kl": kl,
        "kl_information": kl - mismatch,
        "kl_mismatch": mismatch,
        "mi_lower": lower,
        "mi_upper": upper,
        "shuffle_gap": lower * 1.1,
    }
    flags = {"mi_lower": ["saturated"] if lower > CEILING - 0.1 else []}
    metrics = {
        k: {"value": v, "se": 0.05, "n": 360, "unit": "nats", "flags": flags.get(k, [])} for k, v in nats.items()
    }
    metrics |= {
        k: {"value": min(0.98, v + 0.01 * rng.normal()), "se": 0.012, "n": 360, "unit": "share", "flags": []}
        for k, v in shares.items()
    }
    metrics["active_units"] = {"value": float(active), "se": None, "n": 360, "unit": "units", "flags": []}
    remedies = [] if position == 0 else [{"kind": arm.title().replace(" ", ""), "weight": 1.0}]
    reasons = [
        f"The code holds between {lower:.2f} and {upper:.2f} nats about its input, of at most log 360 = {CEILING:.2f}.",
        f"{active} of {size} latents have a posterior mean that varies by at least 0.01.",
        f"Shuffling the codes between inputs costs {lower * 1.1:.2f} nats of likelihood.",
    ]
    return {
        "format": 1,
        "hash": f"{position:02x}{seed:02x}c0ffee5eed",
        "arm": arm,
        "seed": seed,
        "run": {
            "data": {"name": "digits", "binarise": "dynamic", "split": [1077, 360, 360]},
            "model": {"encoder": "conv", "decoder": "pixelcnn", "latents": size},
            "remedies": remedies,
            "fit": {"batches": 1400, "batch_size": 128, "lr": 1e-3, "optimiser": "adam"},
            "metrics": {"nll_samples": 500, "neighbours": 5},
            "seed": seed,
            "version": "0.1.0",
        },
        "metrics": metrics,
        "mi": {"ceiling": CEILING, "saturated": lower > CEILING - 0.1},
        "critic_ceiling": critic,
        "verdict": {"word": word, "reasons": reasons},
        "spectrum": spectrum,
        "history": history(kl, lower, upper, rng, collapse=lower < 1),
        "images": pictures(lower, position) if images else None,
        "sources": [
            "Kingma and Welling 2014, Auto-Encoding Variational Bayes, arXiv:1312.6114",
            *(["Menon, Blei and Vondrick 2022, Forget-me-not! Contrastive Critics, UAI"] if critic else []),
            *(["Kingma et al. 2016, Improved Variational Inference with IAF, arXiv:1606.04934"] * (arm == "free bits")),
        ],
        "seconds": {"fit": 11.3 + seed, "measure": 2.4},
        "versions": {"uncollapse": "0.1.0", "torch": "2.13.0", "numpy": "2.3.0"},
        "device": "cpu",
    }


def make_study(arms=ARMS, seeds=(0, 1), images=True):
    results = [
        make_result(arm, seed, values, position, images=images)
        for position, (arm, values) in enumerate(arms.items())
        for seed in seeds
    ]
    header = {
        "name": "demo",
        "title": "Six ways to train a VAE with a PixelCNN decoder on digits",
        "note": "",
        "arms": list(arms),
        "seeds": list(seeds),
        "baseline": next(iter(arms)),
        "command": "uncollapse demo",
    }
    return header, results


@pytest.fixture
def study():
    """A factory of (header, results)."""
    return make_study


@pytest.fixture
def six_arms():
    return ARMS
