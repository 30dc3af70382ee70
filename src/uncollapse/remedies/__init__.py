"""Published remedies against posterior collapse, as plug-ins for any training loop."""

from uncollapse.remedies.base import Inner, Remedy

__all__ = ["Inner", "Remedy"]
