"""docs/extend.md is followed to the letter, in an empty folder; its files are the ones in contrib."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "extend.md"


def files():
    return dict(re.findall(r'^```python title="([\w.]+)"\n(.*?)^```', PAGE.read_text(), re.S | re.M))


def test_the_page_shows_the_files_of_contrib():
    shown = files()
    assert shown["density_gap.py"] == (ROOT / "src" / "uncollapse" / "contrib" / "density_gap.py").read_text()
    ours = (ROOT / "tests" / "contrib" / "test_density_gap.py").read_text()
    without = [line for line in ours.splitlines() if line != "from uncollapse.contrib import DensityGap"]
    assert [line for line in shown["test_density_gap.py"].splitlines() if "from density_gap" not in line] == without


def test_who_follows_the_page_arrives(tmp_path):
    for name, text in files().items():
        (tmp_path / name).write_text(text)
    quick = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "test_density_gap.py", "-k", "contract or loops or known"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    for command in (quick, ["train.py"]):
        done = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([\w./-]+)\)", PAGE.read_text()):
        assert (PAGE.parent / target).exists(), target
