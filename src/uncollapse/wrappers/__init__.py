"""Remedies that change the model: wrappers round a model that are themselves models."""

from uncollapse.wrappers.amortised import SemiAmortised
from uncollapse.wrappers.base import Wrapper
from uncollapse.wrappers.batchnorm import BatchNormMean
from uncollapse.wrappers.flow import FlowPrior
from uncollapse.wrappers.minimum_rate import AutoregressivePrior, MinimumRate
from uncollapse.wrappers.scaled import ScaledMean
from uncollapse.wrappers.sphere import VonMisesFisher
from uncollapse.wrappers.vamp import VampPrior
from uncollapse.wrappers.word_dropout import WordDropout, drop_tokens

__all__ = [
    "AutoregressivePrior",
    "BatchNormMean",
    "FlowPrior",
    "MinimumRate",
    "ScaledMean",
    "SemiAmortised",
    "VampPrior",
    "VonMisesFisher",
    "WordDropout",
    "Wrapper",
    "drop_tokens",
]
