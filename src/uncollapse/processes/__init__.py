"""Several processes at work on one batch: every network passes its share of the rows, everything else sees them all."""

from uncollapse.processes.exchange import gathered, mine, shared, total, whole
from uncollapse.processes.group import Group, active, using
from uncollapse.processes.likelihood import Apart
from uncollapse.processes.region import can_share, longest, own_rows, region, sharing, together

__all__ = [
    "Apart", "Group", "active", "can_share", "gathered", "longest", "mine", "own_rows", "region", "shared", "sharing",
    "together", "total", "using", "whole",
]  # fmt: skip
