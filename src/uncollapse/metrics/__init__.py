"""Measurements of posterior collapse that cannot be fooled: pure functions that return estimates."""

from uncollapse.metrics import legacy
from uncollapse.metrics.contrast import InfoNCE, infonce_bound
from uncollapse.metrics.divergence import KL, kl
from uncollapse.metrics.estimate import Estimate
from uncollapse.metrics.information import Bracket, information_per_example, mutual_information
from uncollapse.metrics.likelihood import NLL, nll
from uncollapse.metrics.local import LocalCollapse, local_collapse
from uncollapse.metrics.noise import noise_gap
from uncollapse.metrics.probes import knn_probe, linear_probe
from uncollapse.metrics.samples import DensityCoverage, coverage, density, density_coverage, precision, recall
from uncollapse.metrics.shuffle import shuffle_gap
from uncollapse.metrics.spectrum import Lipschitz, Spectrum, lipschitz, local_spectrum
from uncollapse.metrics.units import ActiveUnits, active_units

__all__ = [
    "KL",
    "NLL",
    "ActiveUnits",
    "Bracket",
    "DensityCoverage",
    "Estimate",
    "InfoNCE",
    "Lipschitz",
    "LocalCollapse",
    "Spectrum",
    "active_units",
    "coverage",
    "density",
    "density_coverage",
    "infonce_bound",
    "information_per_example",
    "kl",
    "knn_probe",
    "legacy",
    "linear_probe",
    "lipschitz",
    "local_collapse",
    "local_spectrum",
    "mutual_information",
    "nll",
    "noise_gap",
    "precision",
    "recall",
    "shuffle_gap",
]
