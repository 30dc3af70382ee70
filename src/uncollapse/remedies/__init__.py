"""Published remedies against posterior collapse, as plug-ins for any training loop."""

from uncollapse.remedies.base import Inner, Remedy
from uncollapse.remedies.critics import HybridCritic, NeuralCritic, SelfCritic
from uncollapse.remedies.rate import Anneal, Beta, Capacity, Cyclical, FreeBits

__all__ = [
    "Anneal",
    "Beta",
    "Capacity",
    "Cyclical",
    "FreeBits",
    "HybridCritic",
    "Inner",
    "NeuralCritic",
    "Remedy",
    "SelfCritic",
]
