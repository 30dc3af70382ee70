"""A study that takes seconds: an MLP VAE on digits."""

import pytest

from uncollapse.study import Study
from uncollapse.study.config import parse

TEXT = """
name: tiny
data: digits
model: {encoder: {name: mlp, hidden: [32]}, decoder: {name: mlp, hidden: [32]}, latent: 3}
fit: {batches: 30, batch_size: 64, validate_every: 10}
measure: {nll_samples: 5, samples: 50, images: 3}
seeds: [0, 1]
arms:
  - name: plain
  - name: critic
    remedies:
      - SelfCritic: {weight: {linear: {start: 0, end: 5, over: 10}}}
"""


@pytest.fixture
def tiny():
    return parse(Study, TEXT)


@pytest.fixture
def tiny_file(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(TEXT)
    return path
