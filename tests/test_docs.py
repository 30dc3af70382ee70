"""The Python of README, tutorial and how-to pages runs as printed; links between pages lead somewhere."""

import re
from concurrent.futures import Future
from pathlib import Path

import pytest
import torch
from torch import nn

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "docs" / "tutorial.md", *sorted((ROOT / "docs" / "how-to").glob("*.md"))]


def names_of_the_reader():
    """What a page takes for granted: the reader's own networks, loader and optimiser, here tiny ones."""
    torch.manual_seed(0)
    encoder, decoder = nn.Linear(16, 64), nn.Linear(32, 16)
    x = torch.rand(64, 16).round()
    return {
        "encoder": encoder, "decoder": decoder, "my_encoder": encoder, "my_decoder": decoder, "loader": x.split(16),
        "x_test": x, "optimiser": torch.optim.Adam([*encoder.parameters(), *decoder.parameters()]),
    }  # fmt: skip


class Here:
    """An engine that works at once."""

    workers = 1

    def submit(self, work, *arguments):
        future = Future()
        future.set_result(work(*arguments))
        return future


TINY = """
name: demo
model: {encoder: {name: mlp, hidden: [16]}, decoder: {name: mlp, hidden: [16]}, latent: 3}
fit: {batches: 10, validate_every: 5}
measure: {nll_samples: 3, samples: 40}
arms: [{name: plain}, {name: annealed, remedies: [{Anneal: {over: 5}}]}]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder in which a small study called demo has been run."""
    from uncollapse.study import Study, config, runner

    folder = tmp_path_factory.mktemp("reader")
    runner.run_study(config.parse(Study, TINY), folder / "runs" / "demo", Here())
    return folder


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "```python" in page.read_text()], ids=lambda page: page.stem
)
def test_the_code_of_a_page_runs(page, place, monkeypatch):
    monkeypatch.chdir(place)
    names = {"__name__": page.stem, **names_of_the_reader()}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.S):
        exec(compile(block.replace("batches=1000", "batches=40"), str(page), "exec"), names)


@pytest.mark.parametrize("page", [*PAGES, *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([\w./-]+)\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


def test_the_yaml_of_the_how_to_is_a_study():
    from uncollapse.study import Study
    from uncollapse.study.config import parse

    block = re.search(r"```yaml\n(.*?)```", (ROOT / "docs" / "how-to" / "study.md").read_text(), re.S).group(1)
    assert len(parse(Study, block).runs()) == 9
