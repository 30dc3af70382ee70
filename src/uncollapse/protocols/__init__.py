"""The papers' tables and figures by name: what was published, how it was measured, and the study that repeats it."""

from uncollapse.protocols.catalogue import about, load, names
from uncollapse.protocols.claims import Judged, judge
from uncollapse.protocols.spec import Claim, Column, Figure, Paper, Part, Protocol, Published

__all__ = [
    "Claim",
    "Column",
    "Figure",
    "Judged",
    "Paper",
    "Part",
    "Protocol",
    "Published",
    "about",
    "judge",
    "load",
    "names",
]
