"""uncollapse: find out whether a VAE's posterior has collapsed, why, and what to do about it."""

from importlib.metadata import PackageNotFoundError, version

from uncollapse import functional, metrics, remedies
from uncollapse.codes import Codes
from uncollapse.draw import VAE, Draw, Model, draw
from uncollapse.metrics import Estimate
from uncollapse.objective import Objective

try:
    __version__ = version("uncollapse")
except PackageNotFoundError:  # run from a source folder on the path
    __version__ = "0+source"

__all__ = ["VAE", "Codes", "Draw", "Estimate", "Model", "Objective", "draw", "functional", "metrics", "remedies"]
