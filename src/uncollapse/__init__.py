"""uncollapse: find out whether a VAE's posterior has collapsed, why, and what to do about it."""

from importlib.metadata import PackageNotFoundError, version

from uncollapse import data, functional, metrics, nets, remedies, schedules
from uncollapse.codes import Codes
from uncollapse.draw import VAE, Draw, Model, draw
from uncollapse.fit import Fit, fit
from uncollapse.metrics import Estimate
from uncollapse.objective import Objective
from uncollapse.rescuing import Rescued, rescue
from uncollapse.verdict import Verdict, verdict

try:
    __version__ = version("uncollapse")
except PackageNotFoundError:  # run from a source folder on the path
    __version__ = "0+source"

__all__ = [
    "VAE",
    "Codes",
    "Draw",
    "Estimate",
    "Fit",
    "Model",
    "Objective",
    "Rescued",
    "Verdict",
    "data",
    "draw",
    "fit",
    "functional",
    "metrics",
    "nets",
    "remedies",
    "rescue",
    "schedules",
    "verdict",
]
