"""Measurements of posterior collapse that cannot be fooled: pure functions that return estimates."""

from uncollapse.metrics.estimate import Estimate

__all__ = ["Estimate"]
