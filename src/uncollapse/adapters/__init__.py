"""Other people's models as models of this package."""

from uncollapse.adapters.base import Adapted
from uncollapse.adapters.choice import adapt

__all__ = ["Adapted", "adapt"]
