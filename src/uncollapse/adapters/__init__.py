"""Other people's models as models of this package."""

from uncollapse.adapters.base import Adapted

__all__ = ["Adapted"]
