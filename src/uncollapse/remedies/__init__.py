"""Published remedies against posterior collapse, as plug-ins for any training loop."""

from uncollapse.remedies.base import Inner, Remedy
from uncollapse.remedies.control import GECO, ControlVAE, TargetRate
from uncollapse.remedies.divergence import MAE, MMD
from uncollapse.remedies.hybrid_critic import HybridCritic
from uncollapse.remedies.lagging import Aggressive
from uncollapse.remedies.latent import LatentReconstruction
from uncollapse.remedies.mine import MINE
from uncollapse.remedies.momentum import MomentumContrast
from uncollapse.remedies.neural_critic import NeuralCritic
from uncollapse.remedies.rate import Anneal, Beta, Capacity, Cyclical, FreeBits
from uncollapse.remedies.rescue import Rescue
from uncollapse.remedies.self_critic import SelfCritic

__all__ = [
    "GECO",
    "MAE",
    "MINE",
    "MMD",
    "Aggressive",
    "Anneal",
    "Beta",
    "Capacity",
    "ControlVAE",
    "Cyclical",
    "FreeBits",
    "HybridCritic",
    "Inner",
    "LatentReconstruction",
    "MomentumContrast",
    "NeuralCritic",
    "Remedy",
    "Rescue",
    "SelfCritic",
    "TargetRate",
]
