"""Contracts that anybody's remedy or metric can be held to, and a toy with known answers. Public."""

from uncollapse.testing.remedy import check_remedy
from uncollapse.testing.toy import Prototypes, ToyModel

__all__ = ["Prototypes", "ToyModel", "check_remedy"]
