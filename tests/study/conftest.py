"""A study that takes seconds: an MLP VAE on digits."""

import pytest
import torch

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


@pytest.fixture(autouse=True)
def one_thread(torch_globals_stay):
    """As many threads as workers have: sums of several are other bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tiny():
    return parse(Study, TEXT)


@pytest.fixture
def tiny_file(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(TEXT)
    return path
