"""A small protocol and made-up results of its runs."""

import pytest

TEXT = """
name: tiny
title: "Tiny"
question: Does a critic help?
paper: {citation: "Doe, 2020, A paper", url: https://example.org, where: Table 1, data: digits}
published:
  columns:
    mi: {label: MI, unit: nats, definition: per batch of 50, legacy: mi, right: [mi_lower, mi_upper]}
    au: {label: AU, definition: counted on samples, right: [active_units]}
  rows:
    plain: {mi: [0.03, 0.01], au: 8}
    critic: {mi: 3.8, au: 0.9 to 1}
study:
  data: {name: digits}
  model: {latent: 8}
  fit: {epochs: 30, batch_size: 50}
  measure: {legacy: {mi: {formula: batch_mutual_information, batch: 50}}}
  seeds: [0, 1, 2]
  arms:
    - {name: plain}
    - {name: critic, remedies: [SelfCritic: {weight: 1}]}
    - {name: ours, remedies: [Beta: {beta: 0.5}]}
scales:
  paper: {note: as published}
  small: {note: a few batches, fit: {batches: 20}, seeds: [0, 1], arms: [plain, critic]}
claims:
  - say: The critic adds information
    because: paired by seed
    parts: [{metric: mi_lower, arm: critic, minus: plain, at_least: 1}]
figure: {kind: history, metrics: [mi_lower], title: Information}
differs: [The network is ours.]
unseen: [The appendix.]
"""


def made(arm, seed, lower=1.0, legacy=1.0, saturated=False, **more):
    """A result of a run that nobody ran."""
    run = {"measure": {"legacy": {"mi": {"formula": "batch_mutual_information", "batch": 50}}},
           "data": {"name": "digits"}, "data_fingerprint": "6a26" * 16}  # fmt: skip
    return {
        "format": 1, "hash": f"{arm}{seed}", "arm": arm, "seed": seed, "run": run, "verdict": {"word": "healthy"},
        "metrics": {"mi_lower": {"value": lower}, "mi_upper": {"value": lower + 1}, "active_units": {"value": 4.0},
                    "nll": {"value": 20.0}},
        "legacy": {"mi": {"value": legacy}}, "mi": {"ceiling": 5.9, "saturated": saturated}, "spectrum": [1.0] * 8,
        "history": [{"epoch": 1, "mi_lower": 0.5}, {"epoch": 2, "mi_lower": lower, "bounds": {"a": 1.0, "b": 2.0}}],
        "seconds": {"fit": 2.0, "measure": 1.0}, "versions": {"torch": "2"}, "device": "cpu", **more,
    }  # fmt: skip


@pytest.fixture
def text():
    return TEXT


@pytest.fixture
def result():
    return made


@pytest.fixture
def tiny():
    from uncollapse.protocols.reading import parse_protocol

    return parse_protocol(TEXT, "tiny.yaml")
