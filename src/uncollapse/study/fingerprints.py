"""Fingerprints of a study's data, remembered in its folder where only the code of the packages can change the data.

A run's folder is named after its data, so even a study that is finished has to know their fingerprints. Reading
scikit-learn's digits takes three seconds, nearly all for loading scikit-learn and torch. Data that are read from files
are read again each time: the files may have changed.
"""

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uncollapse.errors import UncollapseError, WorkFailed
from uncollapse.store import read_json, write_json
from uncollapse.study.spec import Run

if TYPE_CHECKING:
    from uncollapse.data import DataSet

__all__ = ["Fingerprints"]

FORMAT = 1  #: of data.json
SOURCE = Path(__file__).parents[1] / "data"


class Fingerprints:
    """Fingerprints of the data of runs; data are loaded once, and only where nothing is remembered.

    Arguments:
        folder: of the study.
        data_dir: where data files are looked for.
    """

    def __init__(self, folder: Path, data_dir: str | None = None) -> None:
        self.path, self.data_dir = folder / "data.json", data_dir
        self.loaded: dict[str, DataSet | UncollapseError] = {}
        self.known = self._remembered()

    def of(self, run: Run) -> str:
        """The fingerprint of a run's data."""
        key = repr(run.data)
        return self.known[key] if key in self.known else self.data(run).fingerprint

    def data(self, run: Run) -> "DataSet":
        """The data of a run; what cannot be loaded is tried once, whatever the number of runs."""
        from uncollapse.study.build import load_data

        key = repr(run.data)
        if key not in self.loaded:
            try:
                self.loaded[key] = load_data(run, self.data_dir)
            except UncollapseError as error:
                self.loaded[key] = error
        found = self.loaded[key]
        if isinstance(found, UncollapseError):
            raise found
        return found

    def keep(self, found: "dict[str, tuple[Run, str]]") -> None:
        """Remember fingerprints of data that were made without reading a file, by the `repr` of the data."""
        fresh = {key: value for key, (run, value) in found.items() if self.known.get(key) != value}
        made = {key: value for key, value in fresh.items() if without_files(found[key][0])}
        if made:
            self.known |= made
            write_json(self.path, {"format": FORMAT, "code": code(), "fingerprints": self.known})

    def _remembered(self) -> dict[str, str]:
        try:
            found: Any = read_json(self.path) if self.path.exists() else {}
            sound = found.get("format") == FORMAT and found.get("code") == code()
            return {str(key): str(value) for key, value in found["fingerprints"].items()} if sound else {}
        except (WorkFailed, AttributeError, KeyError):  # a damaged memory is no memory
            return {}


def without_files(run: Run) -> bool:
    """Whether a run's data come with the packages."""
    from uncollapse.data import about, names

    return run.data_name in names() and not about(run.data_name).folders


def code() -> dict[str, str]:
    """What the data are made by: the versions of the packages, and the state of the files of `uncollapse.data`."""
    state = sorted((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in SOURCE.glob("*.py"))
    versions = {name: version(name) for name in ("uncollapse", "numpy", "scikit-learn", "torch")}
    return versions | {"uncollapse.data": hashlib.sha256(repr(state).encode()).hexdigest()[:16]}
