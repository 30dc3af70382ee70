"""What can be told about a training run before it starts."""

from uncollapse.preflight.call import preflight
from uncollapse.preflight.outcome import Check, Preflight

__all__ = ["Check", "Preflight", "preflight"]
