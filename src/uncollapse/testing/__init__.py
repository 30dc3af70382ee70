"""Contracts that anybody's remedy, model or metric can be held to, and models and data with known answers. Public."""

from uncollapse.testing.linear import LinearVAE, Optimum, optimum
from uncollapse.testing.metric import check_metric
from uncollapse.testing.model import check_model
from uncollapse.testing.remedy import check_remedy
from uncollapse.testing.toy import Prototypes, ToyModel

__all__ = ["LinearVAE", "Optimum", "Prototypes", "ToyModel", "check_metric", "check_model", "check_remedy", "optimum"]
