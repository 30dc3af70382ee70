"""The tests behind a diagnosis: what was measured, which causes were looked for, and what to do about them."""

from uncollapse.diagnosis.finding import CAUSES, Finding
from uncollapse.diagnosis.subject import FULL, QUICK, Budget, Evidence, Subject

__all__ = ["CAUSES", "FULL", "QUICK", "Budget", "Evidence", "Finding", "Subject"]
