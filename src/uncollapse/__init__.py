"""uncollapse: find out whether a VAE's posterior has collapsed, why, and what to do about it."""

from importlib.metadata import PackageNotFoundError, version

from uncollapse import adapters, data, functional, metrics, nets, remedies, schedules
from uncollapse.codes import Codes
from uncollapse.diagnose import Diagnosis, diagnose
from uncollapse.draw import VAE, Draw, Model, draw
from uncollapse.fit import Fit, fit
from uncollapse.metrics import Estimate
from uncollapse.monitor import Monitor
from uncollapse.objective import Objective
from uncollapse.preflight import Preflight, preflight
from uncollapse.rescuing import Rescued, rescue
from uncollapse.seeds import fit_seeds
from uncollapse.verdict import Verdict, verdict

try:
    __version__ = version("uncollapse")
except PackageNotFoundError:  # run from a source folder on the path
    __version__ = "0+source"

__all__ = [
    "VAE",
    "Codes",
    "Diagnosis",
    "Draw",
    "Estimate",
    "Fit",
    "Model",
    "Monitor",
    "Objective",
    "Preflight",
    "Rescued",
    "Verdict",
    "adapters",
    "data",
    "diagnose",
    "draw",
    "fit",
    "fit_seeds",
    "functional",
    "metrics",
    "nets",
    "preflight",
    "remedies",
    "rescue",
    "schedules",
    "verdict",
]
