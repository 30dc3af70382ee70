"""No test of data reads or fills the user's own folders."""

import pytest


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache folder, and no data of the user's."""
    monkeypatch.delenv("UNCOLLAPSE_DATA", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "cache"))
    return tmp_path / "cache" / "uncollapse" / "data"
