"""Several seeds of one model at once."""

from uncollapse.seeds.call import Fits, fit_seeds

__all__ = ["Fits", "fit_seeds"]
